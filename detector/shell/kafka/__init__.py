"""Kafka: the transactions topic as a member of a group or for looking back, and side topics.

The only package that imports kafka-python. Its rules, each with the problem that it avoids:

- **No call blocks for ever.** A call that takes a timeout gets one. A transaction takes none, so it runs in a
  helper thread that the caller waits for with a timeout. A producer whose transaction failed or timed out is
  never used again.
- **The next producer fences the last one.** It has the same transactional id, so its initialisation aborts
  what the last one left open. That happens before anything committed is read back: no read can be overtaken
  by an earlier transaction of this process.
- **A commit carries the group membership that the poll saw** (KIP-447). A membership without a member id is
  rejected here. An evicted member has one like that, and the broker accepts such a commit unchecked, for
  the sake of old clients.
- **Rebalance listeners only record what happened.** They run on the client's IO thread, where blocking calls
  raise.
- **This package decides the positions.** A partition without a committed offset begins at `start`. An offset
  that is no longer in the log is an error (`LogGone`), not a silent jump to another offset.
- **No record and no output blocks the stream.** Header names that are not UTF-8 are repaired, and outputs
  that are too large are cut (`size_limits`). Records that cannot be decoded at all (checksum, codec) need an
  operator: a retry would change nothing, and the client would loop on them without end.
- **Every refusal is explained.** See `probe`.

Modules, each of which imports only from those before it: `record_batch`, `size_limits`, `workarounds`,
`client`, `ends`, `probe`, `transactions`, `publisher`, then `stream`, `side_log`, `archive`,
`output_watch`, `inbox`, `topic_reader` and `sender`; for `detector doctor` `certificates`, `reach`,
`cluster_settings` and `checkup`.
"""

from detector.shell.kafka.archive import KafkaArchive
from detector.shell.kafka.checkup import Checkup
from detector.shell.kafka.client import client_settings
from detector.shell.kafka.ends import EndsWatch
from detector.shell.kafka.inbox import KafkaInbox
from detector.shell.kafka.output_watch import OutputWatch
from detector.shell.kafka.probe import rights_of
from detector.shell.kafka.record_batch import rehearse_batch
from detector.shell.kafka.sender import RecordWriter, send_records
from detector.shell.kafka.side_log import KafkaSideLog, TimeOf
from detector.shell.kafka.stream import KafkaStream
from detector.shell.kafka.topic_reader import TopicReader
from detector.shell.kafka.transactions import Hanging, Transactions, transactional_id

__all__ = [
    "Checkup",
    "EndsWatch",
    "Hanging",
    "KafkaArchive",
    "KafkaInbox",
    "KafkaSideLog",
    "KafkaStream",
    "OutputWatch",
    "RecordWriter",
    "TimeOf",
    "TopicReader",
    "Transactions",
    "client_settings",
    "rehearse_batch",
    "rights_of",
    "send_records",
    "transactional_id",
]
