"""A small internet on one machine: two hosts behind NATs, our servers between them, and traffic to measure by."""
