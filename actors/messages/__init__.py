"""The typed messages: facts, requests and timers, and the envelope that carries them."""
