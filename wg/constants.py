"""The whitepaper's sizes, timers and labels, under its names (whitepaper sections 5.4 and 6.1).

Where the whitepaper leaves a number open, the Linux kernel's is taken, and named here as such.
"""

# --- timers and limits (section 6.1) ---

REKEY_AFTER_MESSAGES = 2**60  # messages sent by one keypair
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1  # messages; the window must not wrap
REKEY_AFTER_TIME = 120.0  # s, age of a keypair; the initiator rekeys
REJECT_AFTER_TIME = 180.0  # s, age of a keypair
REKEY_ATTEMPT_TIME = 90.0  # s of unanswered initiations
REKEY_TIMEOUT = 5.0  # s between initiations
KEEPALIVE_TIMEOUT = 10.0  # s

REKEY_TIMEOUT_JITTER_MAX = 0.333  # s, added at random to a retransmission (section 6.1; the number is the kernel's)
ZERO_KEYS_AFTER = 3 * REJECT_AFTER_TIME  # s after the last new keypair (section 6.3)
INITIATION_INTERVAL = 0.05  # s between initiations taken from one peer (section 5.1; the number is wireguard-go's)

# --- cookies (section 5.4.7) ---

COOKIE_SECRET_MAX_AGE = 120.0  # s; the secret changes, and a cookie is stale
COOKIE_LATENCY = 5.0  # s before that at which a holder stops using its cookie (the kernel's)

# --- sizes, in bytes ---

KEY_LEN = 32
HASH_LEN = 32
TAG_LEN = 16
MAC_LEN = 16
COOKIE_LEN = 16
COOKIE_NONCE_LEN = 24
TIMESTAMP_LEN = 12  # TAI64N
PADDING = 16  # plaintexts are filled up to a multiple of it (section 5.4.6)
TRANSPORT_HEADER_LEN = 16
TRANSPORT_OVERHEAD = TRANSPORT_HEADER_LEN + TAG_LEN

WINDOW_LEN = 8192  # counters that the receive window covers (RFC 6479; the kernel's)
MAX_QUEUED_PACKETS = 128  # packets that wait for a session (the kernel's)

# --- labels (section 5.4) ---

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1 = b"mac1----"
LABEL_COOKIE = b"cookie--"

NO_PRESHARED_KEY = bytes(KEY_LEN)
