"""Reads every topic of an installation as another program would, with nothing but the published schemas.

    python read_topics.py < installation.json

The JSON says where the brokers and the schemas are, which topics there should be, and what was said (see
`expected` in tests/tests/e2e/readers.rs). Each record's value is an Avro single object: C3 01, the
little-endian CRC-64-AVRO fingerprint of its writer's schema, the datum
(https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding). The fingerprints are computed here.

Prints a line for each topic, and at last how many records each has, as JSON. Ends with 1 and a sentence at
the first thing that is not as published.
"""

import collections
import io
import json
import pathlib
import re
import struct
import sys
import time

import fastavro
from fastavro.schema import to_parsing_canonical_form
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import murmur2

OBJECT = b"\xc3\x01"
HEADER_BYTES = 10
READ_SECONDS_MAX = 60
LOG_APPEND_TIME = 1

Entry = collections.namedtuple("Entry", "topic partition offset time key headers value record")


def check(holds, sentence):
    if not holds:
        sys.exit(f"not as published: {sentence}")


# The schemas


def rabin(data):
    """CRC-64-AVRO, as the specification gives it."""
    empty = 0xC15D213AA4D7A795
    fingerprint = empty
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = (fingerprint >> 1) ^ (empty if fingerprint & 1 else 0)
    return fingerprint


def published(folder):
    """Every version of every schema, by the header that its objects start with."""
    schemas = {}
    for path in sorted(pathlib.Path(folder).glob("*.avsc")):
        schema = json.loads(path.read_text())
        canonical = to_parsing_canonical_form(schema)
        header = OBJECT + struct.pack("<Q", rabin(canonical.encode()))
        check(header not in schemas, f"{path} has the fingerprint of another schema")
        schemas[header] = schema["name"], fastavro.parse_schema(schema)
    return schemas


def decode(schemas, value):
    """Name and fields of a single object; (None, None) when the bytes are none."""
    if value is None or value[:HEADER_BYTES] not in schemas:
        return None, None
    name, schema = schemas[value[:HEADER_BYTES]]
    rest = io.BytesIO(value[HEADER_BYTES:])
    fields = fastavro.schemaless_reader(rest, schema)
    check(not rest.read(), f"bytes follow the end of a {name}")
    return name, fields


# The topics


def read(consumer, schemas, name, partitions):
    """Every record of a topic, in order, whoever wrote it; of transactions only what was committed."""
    places = [TopicPartition(name, partition) for partition in range(partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(places)
    deadline = time.monotonic() + READ_SECONDS_MAX
    entries = []
    while any(consumer.position(place) < ends[place] for place in places):
        check(time.monotonic() < deadline, f"{name} could not be read to its end in {READ_SECONDS_MAX} s")
        for records in consumer.poll(timeout_ms=200).values():
            for it in records:
                check(it.timestamp_type == LOG_APPEND_TIME, f"{name} has times that its broker did not give")
                headers = dict(it.headers)
                kind, record = decode(schemas, it.value)
                place = it.partition, it.offset
                entries.append(Entry(name, *place, it.timestamp, it.key, headers, it.value, (kind, record)))
    return sorted(entries, key=lambda entry: (entry.partition, entry.offset))


def read_all(installation, schemas):
    """What each topic of the catalogue holds, by the topic's name without the prefix."""
    consumer = KafkaConsumer(
        bootstrap_servers=installation["brokers"].split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        group_id=None,
    )
    prefix = installation["prefix"]
    catalogue = {topic["name"]: topic for topic in installation["topics"]}
    there = {name for name in consumer.topics() if name.startswith(prefix)}
    check(there == {prefix + name for name in catalogue}, f"the topics are {sorted(there)}")
    holds = {}
    for name, topic in catalogue.items():
        found = consumer.partitions_for_topic(prefix + name)
        check(found == set(range(topic["partitions"])), f"{name} has the partitions {found}")
        deadline = time.monotonic() + READ_SECONDS_MAX
        holds[name] = read(consumer, schemas, prefix + name, topic["partitions"])
        while is_on_its_way(name, holds[name], installation):
            check(time.monotonic() < deadline, f"records of {name} are still missing after {READ_SECONDS_MAX} s")
            holds[name] = read(consumer, schemas, prefix + name, topic["partitions"])
    consumer.close()
    return holds


def is_on_its_way(name, entries, installation):
    """Whether the chain is still at work: all else was seen to be there before this program started."""
    if name == "group-tasks":
        return unfinished(entries)
    return name == "dead-letters" and len(entries) < len(installation["foreign"])


# What each topic must hold

KEYS = {
    "Upstream": lambda record: record["conversation_id"],
    "Sequenced": lambda record: record["conversation_id"],
    "Delivery": lambda record: record["message"]["conversation_id"],
    "GroupTask": lambda record: str(record["group_id"]),
    "Presence": lambda record: f"{record['user_id']}/{record['slot']}",
    "Heartbeat": lambda record: str(record["slot"]),
    "Head": lambda record: record["conversation_id"],
    "LogIdentity": lambda record: record["id"],
}
PLACED_BY_KEY = ("Upstream", "Sequenced", "GroupTask", "Head")


def own(holds, name):
    """The records of a topic, without what other programs put there."""
    return [entry.record[1] for entry in holds[name] if entry.record[0] is not None]


def check_forms(topic, entries, foreign):
    """Every record is of the topic's schemas, under its key, in its partition; or is known to be foreign."""
    kinds = topic["record"].split(" or ")
    known_foreign = {(it["partition"], bytes.fromhex(it["value"])) for it in foreign if it["topic"] == topic["name"]}
    for entry in entries:
        at = f"{entry.topic} partition {entry.partition} offset {entry.offset}"
        kind, record = entry.record
        if kinds == ["bytes"]:
            continue
        if kind is None:
            check((entry.partition, entry.value) in known_foreign, f"{at} is of no published schema")
            continue
        check(kind in kinds, f"{at} is a {kind}, not a {topic['record']}")
        key = KEYS[kind](record) if kind in KEYS else str(entry.partition)
        check(entry.key == key.encode(), f"{at} has the key {entry.key}, not {key}")
        if kind in PLACED_BY_KEY:
            partition = (murmur2(entry.key) & 0x7FFFFFFF) % topic["partitions"]
            check(entry.partition == partition, f"{at}: Kafka's default partitioner puts {key} into {partition}")


def check_headers(entries):
    """Where a message came from, whose trace it is, and when it passed each hop."""
    for entry in entries:
        kind, record = entry.record
        message = record and record.get("message", record)
        if kind is None or message["kind"] != "text":
            continue
        trace = entry.headers["traceparent"].decode()
        check(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", trace), f"{trace} is no traceparent")
        slot, epoch, socket = struct.unpack(">IqQ", entry.headers["origin"])
        check(slot == 0 and epoch > 0 and socket >= 0, f"the origin {slot} {epoch} {socket} is none")
        admitted, *after = struct.unpack(">q5I", entry.headers["hop-times"])
        check(0 <= entry.time - admitted < 600_000, f"{message['content']} was admitted at {admitted}")
        passed = [ms for ms in after if ms != 0xFFFFFFFF]
        check(passed == sorted(passed), f"hops were passed after {passed} ms")


def by_conversation(records):
    found = collections.defaultdict(list)
    for record in records:
        found[record["conversation_id"]].append(record)
    return found


def check_messages(holds, said):
    """Each message once, with the next seq of its conversation, from edge to edge."""

    def identity(record):
        return record["conversation_id"], record["sender_id"], record["client_msg_id"], record["kind"], record["content"]

    upstream = [identity(record) for record in own(holds, "upstream-messages")]
    accepted = [identity(record) for record in own(holds, "accepted-messages")]
    sequenced = own(holds, "sequenced-messages")
    with_key = [message for message in accepted if message[2]]
    check(len(upstream) > len(accepted), "the repeats are not in upstream-messages")
    check(set(upstream) == set(accepted), "what was accepted is not what came")
    check(len(with_key) == len(set(with_key)), "a repeat was accepted")
    check(collections.Counter(map(identity, sequenced)) == collections.Counter(accepted), "not all has an identity")
    check(sequenced == own(holds, "persisted-messages"), "what was persisted is not what has an identity")

    conversations = by_conversation(sequenced)
    ids = [record["message_id"] for record in sequenced if record["seq_id"]]
    check(len(ids) == len(set(ids)), "a message id was given twice")
    for conversation, contents in said.items():
        numbered = [record for record in conversations[conversation] if record["seq_id"]]
        seqs = [record["seq_id"] for record in numbered]
        check(seqs == list(range(1, len(seqs) + 1)), f"{conversation} has the seqs {seqs}")
        rising = [record["message_id"] for record in numbered]
        check(rising == sorted(rising), f"message ids of {conversation} do not rise")
        texts = [record["content"] for record in numbered if record["kind"] == "text"]
        check(texts == contents, f"{conversation} has {texts}, but {contents} was said")
    changes = [record for record in sequenced if record["kind"] == "reaction"]
    check([change["remove"] for change in changes] == [False, True], "the reaction came and went")
    check(all(change["target_seq"] == 1 for change in changes), "the reaction has its target")


def check_changelogs(holds):
    """What id-assign and dedupe would restore is what they did."""
    heads = {}
    for head in own(holds, "conversation-heads"):
        heads[head["conversation_id"]] = head
    for conversation, records in by_conversation(own(holds, "sequenced-messages")).items():
        numbered = [record for record in records if record["seq_id"]]
        if numbered:
            newest, head = numbered[-1], heads[conversation]
            same = all(head[field] == newest[field] for field in ("seq_id", "ordinal", "message_id"))
            check(same, f"the head of {conversation} is {head}, its newest message {newest}")
    appended = {entry.time for entry in holds["upstream-messages"]}
    keys = 0
    for window in own(holds, "dedupe-window"):
        check(len(window["hashes"]) == 16 * len(window["times"]), "a key has 16 bytes of hash and one time")
        check(set(window["times"]) <= appended, "times of the window are log-append times of upstream-messages")
        keys += len(window["times"])
    accepted = [record for record in own(holds, "accepted-messages") if record["client_msg_id"]]
    check(keys == len(accepted), f"the window has {keys} keys for {len(accepted)} messages")


def pages_of(tasks):
    found = collections.defaultdict(list)
    for kind, task in (entry.record for entry in tasks):
        if kind == "GroupTask":
            found[task["message"]["message_id"]].append((task["page"], task["pages"]))
    return found


def unfinished(tasks):
    """Whether a message waits for pages of its group."""

    def lacks_pages(pages):
        worked, count = max(page for page, _ in pages) + 1, max(count for _, count in pages)
        return count == 0 or worked < count

    return any(lacks_pages(pages) for pages in pages_of(tasks).values())


def check_deliveries(holds, large, online):
    """Every gateway slot that somebody is online at gets what is for them, and every page was worked."""
    tasks = pages_of(holds["group-tasks"])
    check(len(tasks) >= 3, f"{len(tasks)} messages of the large group have tasks")
    for message_id, pages in tasks.items():
        count = pages[-1][1]
        as_worked = [(0, 0)] + [(page, count) for page in range(1, count)]
        check(pages == as_worked, f"message {message_id} has the pages {pages}")
    presences = [entry.record[1] for entry in holds["presence"] if entry.record[0] == "Presence"]
    beats = [entry.record[1] for entry in holds["presence"] if entry.record[0] == "Heartbeat"]
    check({it["user_id"] for it in presences if it["online"]} >= set(online), "everybody who came is in presence")
    check(beats and {beat["slot"] for beat in beats} == {0}, "the slot is alive")
    epochs = {beat["epoch"] for beat in beats}
    reached = set()
    for delivery in own(holds, "downstream-deliveries"):
        check(delivery["epoch"] in epochs, f"a delivery is for the epoch {delivery['epoch']}")
        if delivery["message"]["conversation_id"] == large and delivery["message"]["kind"] == "text":
            reached.update(delivery["recipients"])
    check(reached == set(online), f"the large group's messages were addressed to {reached}, not {online}")


def check_dead_letters(holds, foreign):
    """What other programs wrote lies there as it came, with the reason and the place it came from."""
    letters = {}
    for letter in holds["dead-letters"]:
        letters[letter.headers.get("source-topic", b"").decode(), letter.value] = letter
    for it in foreign:
        letter = letters.get((it["topic"], bytes.fromhex(it["value"])))
        check(letter is not None, f"the foreign record of {it['topic']} is not in dead-letters")
        check(letter.key == it["key"].encode(), f"its key is {letter.key}")
        fact = {name: value.decode(errors="replace") for name, value in letter.headers.items()}
        check(fact["from"] == "elsewhere", "its own headers are kept")
        check(fact["error"] and fact["source-reader"], f"it says neither why nor who: {fact}")
        check(fact["source-partition"] == str(it["partition"]), f"it comes from partition {fact['source-partition']}")
        offset = int(fact["source-offset"])
        there = {(entry.partition, entry.offset): entry.value for entry in holds[it["topic"]]}
        found = there.get((it["partition"], offset))
        check(found == letter.value, f"{it['topic']} has {found} at offset {offset}")
    check(len(holds["dead-letters"]) == len(foreign), f"there are {len(holds['dead-letters'])} dead letters")


def main():
    installation = json.load(sys.stdin)
    schemas = published(installation["schemas"])
    holds = read_all(installation, schemas)
    for topic in installation["topics"]:
        entries = holds[topic["name"]]
        check(entries, f"{topic['name']} is empty")
        check_forms(topic, entries, installation["foreign"])
        kinds = collections.Counter(entry.record[0] or "foreign bytes" for entry in entries)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(f"{topic['name']}: {counts} in {topic['partitions']} partitions")
    for name in ("upstream", "accepted", "sequenced", "persisted"):
        check_headers(holds[f"{name}-messages"])
    check_headers(holds["downstream-deliveries"])
    check_messages(holds, installation["said"])
    check_changelogs(holds)
    check_deliveries(holds, installation["large"], installation["online"])
    check_dead_letters(holds, installation["foreign"])
    print(json.dumps({name: len(entries) for name, entries in holds.items()}))


main()
