"""What waits to be handed to the signal server: a bounded queue per peer, so that no peer delays another.

Of each peer one post is under way at a time: its candidates follow its description, and a receiver that the server
waits for holds up nobody else.
"""

from collections import Counter, OrderedDict

from config.keys import PublicKey
from transport.signal.messages import PostCandidate, PostDescription, SignalPost

MAX_PEERS = 4096  # with something waiting or under way
MAX_WAITING = 64  # posts per peer
MAX_UNDER_WAY = 64  # posts of all peers; servers take 250 calls on a connection (signal spec 2.7)


class Outbox:
    """Says which post to send next.

    A newer offer takes the place of one that waits, and so does a newer answer; a candidate over the bound is
    dropped, the oldest first.  `counters` tells how often.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._waiting: OrderedDict[PublicKey, list[SignalPost]] = OrderedDict()  # whose turn is first
        self._under_way: set[PublicKey] = set()

    def put(self, post: SignalPost) -> None:
        """Queue a post."""
        queue = self._waiting.get(post.peer)
        if queue is None:
            if len(self._waiting) >= MAX_PEERS:
                self.counters["too_many_peers"] += 1
                return
            queue = self._waiting[post.peer] = []
        if isinstance(post, PostDescription):
            self._put_description(queue, post)
        else:
            self._put_candidate(queue, post)

    def take(self) -> SignalPost | None:
        """Return the next post to send, of a peer with none under way; None: there is nothing to do now."""
        if len(self._under_way) >= MAX_UNDER_WAY:
            return None
        peer = next((peer for peer in self._waiting if peer not in self._under_way), None)
        if peer is None:
            return None
        queue = self._waiting.pop(peer)
        post = queue.pop(0)
        if queue:
            self._waiting[peer] = queue  # behind the others
        self._under_way.add(peer)
        return post

    def done(self, peer: PublicKey) -> None:
        """The post of this peer that was under way has ended, well or not."""
        self._under_way.discard(peer)

    def clear(self) -> list[SignalPost]:
        """Forget everything, and return what waited: the link is gone."""
        waiting = [post for queue in self._waiting.values() for post in queue]
        self._waiting.clear()
        self._under_way.clear()
        return waiting

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _put_description(self, queue: list[SignalPost], post: PostDescription) -> None:
        for index, other in enumerate(queue):
            if isinstance(other, PostDescription) and other.kind == post.kind:
                queue[index] = post
                self.counters["replaced"] += 1
                return
        queue.append(post)

    def _put_candidate(self, queue: list[SignalPost], post: PostCandidate) -> None:
        if len(queue) >= MAX_WAITING:
            del queue[next(index for index, other in enumerate(queue) if isinstance(other, PostCandidate))]
            self.counters["overflow"] += 1
        queue.append(post)
