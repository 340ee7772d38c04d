"""Every Redis key of the project. All keys share the namespace's hash tag, so that one script may touch them together.

==================  ======  ======================================================  ============================
key after {NS}:     type    meaning                                                 who deletes it
==================  ======  ======================================================  ============================
``queue:QUEUE``     list    messages ready to be claimed: bare JSON, one an entry   claim; Redis when empty
``returned:QUEUE``  list    messages that came back, each after its history         claim; Redis when empty
``delayed:QUEUE``   zset    messages that wait; score = due, in Unix seconds        claim, once due
``dead:QUEUE``      hash    dead letters: id → history and body                     `dead requeue`, `dead drop`
``timers:QUEUE``    zset    names of timers; score = due, in Unix seconds           claim, once due; the sender
``timed:QUEUE``     hash    timer → the message that it becomes                     with its timer
``memory:QUEUE``    hash    what a section remembers: name → until and text         the stage; commit, once over
``fading:QUEUE``    zset    remembered names with an end; score = Unix seconds      with what is remembered
``books:ACCOUNT``   hash    the ledger: in, out, dropped:REASON, pushed, …          nobody: kept for ever
``flow:QUEUE``      zset    samples `second arrived taken`; score = second          the next sample
``worker:NAME``     hash    a worker: token, batch, beat, state, pid, …             nobody: the token only grows
``held:NAME``       list    messages a worker has claimed and not committed         commit; Redis when empty
``caught:Q:NAME``   list    messages that came while a worker waited                claim; Redis when empty
``holders:QUEUE``   set     names of workers that may hold messages of a queue      nobody
``cursors:OWNER``   hash    positions committed with the work: name → text          the owning stage
``leases:POOL``     hash    lease → its token, until when, and who has it           nobody: the token only grows
``leased:LEASE``    hash    positions that belong to a lease, POOL:NAME             the stage that holds it
``queues``          set     names of queues ever claimed from or pushed to          nobody
``workers``         set     names of workers ever started                           nobody
``findings``        hash    losses a human must hear of: code, owner, about → JSON  `health --acknowledge`
``serial``          string  numbers histories and dead letters                      nobody
``state``           hash    id of this state, when it began, the newest token       nobody
``instances``       hash    node → id of the instance that has its name             nobody: the next owner replaces it
``restoring``       string  exists while `state import` is under way                `state import`, at its end
==================  ======  ======================================================  ============================

QUEUE, or Q, is a name as configured, with ``@node`` resolved to ``@`` and the node's name. ACCOUNT is a queue, or for a
source its worker name. NAME is ``<node>:<section>_<number>``; OWNER is ``<node>:<section>``.
"""

from __future__ import annotations


class Keys:
    """Build the keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"{{{namespace}}}:"
        self.queues = self.prefix + "queues"
        self.workers = self.prefix + "workers"
        self.serial = self.prefix + "serial"
        self.state = self.prefix + "state"
        self.instances = self.prefix + "instances"
        self.restoring = self.prefix + "restoring"
        self.findings = self.prefix + "findings"

    def queue(self, queue: str) -> str:
        """Return the list any program may RPUSH bare JSON objects onto."""
        return f"{self.prefix}queue:{queue}"

    def returned(self, queue: str) -> str:
        """Return the side list of a queue."""
        return f"{self.prefix}returned:{queue}"

    def delayed(self, queue: str) -> str:
        """Return the sorted set of the messages that wait for their time."""
        return f"{self.prefix}delayed:{queue}"

    def dead(self, queue: str) -> str:
        """Return the dead letters of a queue."""
        return f"{self.prefix}dead:{queue}"

    def timers(self, queue: str) -> str:
        """Return the sorted set of the timers of a queue."""
        return f"{self.prefix}timers:{queue}"

    def timed(self, queue: str) -> str:
        """Return the hash of the messages that the timers of a queue become."""
        return f"{self.prefix}timed:{queue}"

    def memory(self, queue: str) -> str:
        """Return what the section that reads a queue remembers."""
        return f"{self.prefix}memory:{queue}"

    def fading(self, queue: str) -> str:
        """Return when what is remembered ends."""
        return f"{self.prefix}fading:{queue}"

    def leases(self, pool: str) -> str:
        """Return the hash of who has the leases of a pool."""
        return f"{self.prefix}leases:{pool}"

    def leased(self, pool: str, name: str) -> str:
        """Return the hash of the positions that belong to a lease."""
        return f"{self.prefix}leased:{pool}:{name}"

    def books(self, account: str) -> str:
        """Return the ledger of a queue's consumer, or of a source."""
        return f"{self.prefix}books:{account}"

    def flow(self, queue: str) -> str:
        """Return the samples that rates and ages are computed from."""
        return f"{self.prefix}flow:{queue}"

    def worker(self, name: str) -> str:
        """Return the hash of one worker name, across its incarnations."""
        return f"{self.prefix}worker:{name}"

    def held(self, name: str) -> str:
        """Return the list of the messages that a worker holds. Only fenced scripts write it."""
        return f"{self.prefix}held:{name}"

    def caught(self, queue: str, name: str) -> str:
        """Return the list that a waiting worker's BLMOVE fills. Any incarnation of the name may take from it."""
        return f"{self.prefix}caught:{queue}:{name}"

    def holders(self, queue: str) -> str:
        """Return the set of workers that may hold messages of a queue."""
        return f"{self.prefix}holders:{queue}"

    def cursors(self, owner: str) -> str:
        """Return the committed positions of one section on one node."""
        return f"{self.prefix}cursors:{owner}"


def resolve(queue: str, node: str) -> str:
    """Return a queue's name in Redis: a trailing ``@node`` becomes ``@`` and this node's name."""
    return f"{queue[: -len('@node')]}@{node}" if queue.endswith("@node") else queue
