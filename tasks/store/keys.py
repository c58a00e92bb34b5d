"""Every Redis key of the project. The scripts in `lua/` build the same names, by functions called …_key.

A script builds keys from a job's fields (its queue, its limit), so all keys live on one Redis, not in a cluster.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from tasks.domain.errors import BatchNotFound, JobNotFound

PREFIX = "tandem:"
#: How the names of circuits begin that are of a provider's key, not of a model there.
KEY_CIRCUIT = "key:"

#: Sorted set: unfinished job → the moment (ms) at which somebody must look at it again.
DUE = f"{PREFIX}due"
#: Sorted set: worker → when it last said hello (ms).
WORKERS = f"{PREFIX}workers"
#: String: written to see whether Redis takes writes.
TRIED = f"{PREFIX}tried"
#: Counter: lines of accepted batches that are no items yet, for which room is kept.
UNREAD = f"{PREFIX}unread"
#: Hash: job, or batch for all of its items → bytes kept for answers to come (lua/reserved.lua).
RESERVED = f"{PREFIX}reserved"
#: Counter: the sum of those bytes.
RESERVED_BYTES = f"{PREFIX}reserved_bytes"
#: Set of "queue priority": the lines in which jobs have ever waited.
LINES = f"{PREFIX}lines"
#: Set: names of the limits that jobs are parked behind.
LIMITS = f"{PREFIX}limits"
#: Set of "provider:model": the circuits that are not closed.
CIRCUITS = f"{PREFIX}circuits"
#: Hash: queue, or "queue:model" → when an engine of ours was ready there last (ms).
READY_AT = f"{PREFIX}ready_at"
#: Hash {swept_at, grace_until}: when leases were last looked at, and until when none is taken away.
SWEEP = f"{PREFIX}sweep"
#: String "seen added": a moment that has been, and what the scripts add to Redis' own clock (µs).
CLOCK = f"{PREFIX}clock"
#: Set: queues that a worker has ever served.
SERVED = f"{PREFIX}served"
#: Set: flights that have an answer and followers who have not got it yet.
LANDED = f"{PREFIX}landed"
#: Channel: ids of jobs that have just ended.
SETTLED = f"{PREFIX}settled"
#: Channel: ids of jobs whose running call must be cut.
NUDGE = f"{PREFIX}nudge"


#: What an id of ours may look like. With a colon it would be another key: job_…:x.
ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def job(job_id: str) -> str:
    """Hash: the record of a job. Raises JobNotFound for what is no id, whoever asks: there is no such job."""
    if not ID.fullmatch(job_id):
        raise JobNotFound("no such job")
    return f"{PREFIX}job:{job_id}"


def erased(job_id: str) -> str:
    """String: the owner of a job that was erased lately."""
    return f"{PREFIX}erased:{job_id}"


def idempotency(kind: Literal["job", "batch"], owner: str, key: str) -> str:
    """Hash {job, fingerprint}: what an owner's idempotency key was used for. The key is a client's text: hashed."""
    return f"{PREFIX}idempotency:{kind}:{owner}:{hashlib.sha256(key.encode()).hexdigest()}"


def owner_jobs(owner: str) -> str:
    """Sorted set: an owner's jobs by creation (µs)."""
    return f"{PREFIX}owner:{owner}:jobs"


def owner_jobs_in(owner: str, status: str) -> str:
    """Sorted set: an owner's jobs in this state, by creation (µs). Those that have not ended are in one together."""
    return f"{owner_jobs(owner)}:{'open' if status in ('pending', 'processing') else status}"


def waiting(queue: str, priority: int) -> str:
    """Sorted set: jobs whose message waits in a queue, by publish sequence."""
    return f"{PREFIX}waiting:{queue}:{priority}"


def flow(queue: str, priority: int) -> str:
    """Hash {watermark, mark, mark_at, overtaken_below, busy_at}: how far a line has been popped, and when."""
    return f"{PREFIX}flow:{queue}:{priority}"


def usage(owner: str, day: int) -> str:
    """Hash {"provider model count": n}: what an owner used on a day (days since the epoch, UTC)."""
    return f"{PREFIX}usage:{owner}:{day}"


def parked(limit: str) -> str:
    """Sorted set: jobs that wait for a limit, by priority and creation."""
    return f"{PREFIX}parked:{limit}"


def limit(name: str) -> str:
    """Hash: a limit's hold {until, step, wake_at}, what was learned of it and what it counts (lua/rate.lua)."""
    return f"{PREFIX}limit:{name}"


def circuit(name: str) -> str:
    """Hash: what is wrong with a provider's model, "provider:model" (lua/circuit.lua). Absent while all is well."""
    return f"{PREFIX}circuit:{name}"


def circuit_line(name: str) -> str:
    """The name of the limit behind which jobs wait for a circuit."""
    return f"circuit:{name}"


def learned(provider: str) -> str:
    """Hash: model (the provider's id) → what calls told of it: {state, checked_at, retired_on} as JSON."""
    return f"{PREFIX}learned:{provider}"


def retired(provider: str, model: str) -> str:
    """String: what clients of a model that the provider has retired are told. It lapses: see learned.py."""
    return f"{PREFIX}retired:{provider}:{model}"


def listed(provider: str) -> str:
    """Hash {ids, at}: the models that the provider lists, as JSON, and when it did (ms)."""
    return f"{PREFIX}listed:{provider}"


def listing(provider: str) -> str:
    """String: there while nobody needs to ask the provider for its list."""
    return f"{PREFIX}listing:{provider}"


def requests(scope: str) -> str:
    """Sorted set: call → until when it counts as a request (ms)."""
    return f"{PREFIX}requests:{scope}"


def tokens(scope: str) -> str:
    """Sorted set: call → until when its tokens count (ms)."""
    return f"{PREFIX}tokens:{scope}"


def spent(scope: str) -> str:
    """Hash: call → its tokens."""
    return f"{PREFIX}spent:{scope}"


def calls(scope: str) -> str:
    """Sorted set: call in flight → when it is over at the latest (ms)."""
    return f"{PREFIX}calls:{scope}"


def key_report(provider: str) -> str:
    """String: what a provider says of its key's limits (JSON)."""
    return f"{PREFIX}key:{provider}"


def access(provider: str) -> str:
    """Hash: the fingerprint of our key at a provider, and what was refused to it (lua/circuit.lua)."""
    return f"{PREFIX}access:{provider}"


def answer(question: str) -> str:
    """String: the job that has answered a question, for as long as others may have its answer."""
    return f"{PREFIX}answer:{question}"


def flight(name: str) -> str:
    """String: the job whose answer others wait for."""
    return f"{PREFIX}flight:{name}"


def followers(flight: str) -> str:
    """Sorted set: the jobs that wait for another's answer, by priority and creation."""
    return f"{PREFIX}followers:{flight}"


def worker(name: str) -> str:
    """Hash: what a worker says of itself."""
    return f"{PREFIX}worker:{name}"


def media(digest: str) -> str:
    """String: the bytes of an image, by their sha256."""
    return f"{PREFIX}media:{digest}"


def batch(batch_id: str) -> str:
    """Hash: the record of a batch. Raises BatchNotFound for what is no id."""
    if not ID.fullmatch(batch_id):
        raise BatchNotFound("no such batch")
    return f"{PREFIX}batch:{batch_id}"


def owner_batches(owner: str) -> str:
    """Sorted set: an owner's batches by creation (µs)."""
    return f"{PREFIX}owner:{owner}:batches"


def chunk(batch_id: str, number: int) -> str:
    """List: some of a batch's lines as they came, until they have been read."""
    return f"{batch(batch_id)}:chunk:{number}"


def item_names(batch_id: str) -> str:
    """Hash: custom_id → number of the item, while a batch is read."""
    return f"{batch(batch_id)}:names"


def invalid_items(batch_id: str) -> str:
    """List: the items that are not valid, as JSON."""
    return f"{batch(batch_id)}:invalid"


def loads(batch_id: str) -> str:
    """List: what is known of items that are in no shard yet, as JSON, a chunk's for one place at a time."""
    return f"{batch(batch_id)}:loads"


def shards(batch_id: str) -> str:
    """List: names of the shards that carry a batch's items."""
    return f"{batch(batch_id)}:shards"


def settled_items(batch_id: str) -> str:
    """Sorted set: numbers of the items that have ended, by when (µs)."""
    return f"{batch(batch_id)}:settled"
