"""A whole transport in Python: batches to the bus as JSON, and frames from it.

It carries everything that the contract has, because a message is written field by field, whatever it
is. What a transport promises is in the WIT (`wit/transport`); the numbers below say where it is kept.
"""

import base64
import dataclasses
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.publisher import PublishFailure
from wit_world.exports.subscriber import Event_Lagged, Event_Messages, Event_NodeLeft, Lag, Received
from wit_world.imports import bus, lifecycle, messages, node

# What one poll takes at most; a larger unit only costs memory.
MAX_BYTES = 1024 * 1024

# ---- The wire: a frame is a JSON list of runs, which are messages with what they have in common.

# The types that a run is made of, by name. Nothing else is made of what others send.
TYPES = {
    name: kind for name, kind in vars(messages).items() if dataclasses.is_dataclass(kind)
}


def pack(value):
    """A value of the contract as what JSON has."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: pack(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [pack(item) for item in value]
    return value


def unpack(value):
    """The reverse. What does not fit raises an error."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return base64.b64decode(value["bytes"], validate=True)
    fields = {name: unpack(item) for name, item in value["fields"].items()}
    return TYPES[value["type"]](**fields)


def singly(batch):
    """The messages of a batch, each in a run of its own.

    An `again` goes on with the broadcast before it in its run, so alone it is written as a whole one.
    """
    for run in batch:
        target = None
        for message in run.messages:
            body = message.body
            if isinstance(body, messages.Body_Broadcast):
                target = body.value.target
            elif isinstance(body, messages.Body_Again) and target is not None:
                whole = messages.Broadcast(target, body.value, packet_id=None, request=None)
                message = messages.Message(message.recipient, messages.Body_Broadcast(whole))
            yield messages.Run(run.namespace, run.sender, [message])


# ---- The two halves. They run in separate instances, so they share nothing.
#
# componentize-py makes a new object for every call, so what lives longer belongs to the class.


class Publisher(exports.Publisher):
    def open(self, config):
        Publisher.sender = open_on_bus(bus.Sender, config)
        # (1) Nothing is held back or counted here: the host does that, by heartbeats.
        return lifecycle.TransportInfo(
            membership=lifecycle.Membership.HEARTBEATS,
            rooms_query=True,
            custom_query=True,
            reports_leaving=True,
        )

    def publish(self, batch, first):
        # (2) The order of the batch is the order of the frame, and frames leave in order. It is
        # accepted as a whole or not at all.
        try:
            self.send(batch)
        except Err as error:
            runs = list(singly(batch))
            if isinstance(error.value, bus.Error_TooLarge) and len(runs) > 1:
                return self.publish_singly(runs)
            raise Err(PublishFailure(accepted=0, offsets=[], reason=reason(error.value)))
        return []

    def publish_singly(self, runs):
        """Together they are too large: each goes alone, to find the one that can never go."""
        for accepted, run in enumerate(runs):
            try:
                self.send([run])
            except Err as error:
                # (3) How many were accepted is exact, so that nothing is lost or sent twice.
                why = reason(error.value)
                raise Err(PublishFailure(accepted=accepted, offsets=[], reason=why))
        return []

    def send(self, runs):
        self.sender.send([json.dumps(pack(runs)).encode()])

    def count_nodes(self, namespace):
        return None

    def close(self):
        self.sender.close()


class Subscriber(exports.Subscriber):
    def open(self, config, resume_from):
        # (4) The subscription is the host's and outlives this instance, so there is nothing to resume.
        Subscriber.subscription = open_on_bus(bus.Subscription, config)
        Subscriber.node = config.node
        Subscriber.namespaces = set()

    def enter(self, namespace):
        self.namespaces.add(namespace)

    def leave(self, namespace):
        self.namespaces.discard(namespace)

    def poll(self, timeout_ms, max_events):
        try:
            taken = self.subscription.next(timeout_ms, max_events, MAX_BYTES)
        except Err as error:
            raise Err(reason(error.value))
        # (5) Everything that was taken is returned: when this call returns, it counts as delivered.
        events = []
        for event in taken:
            if isinstance(event, bus.Event_Frame):
                events += self.read(event.value)
            elif isinstance(event, bus.Event_Left):
                events.append(Event_NodeLeft(event.value))
            elif isinstance(event, bus.Event_Lagged):
                # (6) A gap is said, never hidden.
                events.append(Event_Lagged(Lag(missed=None, reason="frames were missed on the bus")))
        return events

    def read(self, frame):
        try:
            runs = [self.for_us(run) for run in unpack(json.loads(frame.data))]
            return [Event_Messages(Received(run, offsets=[])) for run in runs if run.messages]
        except Exception as error:
            why = f"a frame of node {frame.sender} could not be read: {error!r}"
            node.log(node.Level.WARN, why)
            return [Event_Lagged(Lag(missed=None, reason=why))]

    def for_us(self, run):
        # Only answers have a recipient: no `again` loses the broadcast before it.
        served = run.messages if run.namespace in self.namespaces else []
        ours = [message for message in served if message.recipient in (None, self.node)]
        return messages.Run(run.namespace, run.sender, ours)

    def close(self):
        self.subscription.close()


def open_on_bus(half, config):
    """Opens one half on the bus that the options name."""
    options = json.loads(config.options)
    connection = options.pop("connection", "main")
    if options:
        raise Err(lifecycle.OpenFailure_InvalidConfig(f"there is no option `{min(options)}`"))
    if not isinstance(connection, str):
        raise Err(lifecycle.OpenFailure_InvalidConfig("`connection` must be a text"))
    try:
        return half.open(connection)
    except Err as error:
        if isinstance(error.value, bus.Error_Denied):
            raise Err(lifecycle.OpenFailure_Unsupported(error.value.value))
        raise Err(lifecycle.OpenFailure_Unavailable(str(error.value)))


def reason(error):
    """What became of a message that the bus did not take."""
    if isinstance(error, bus.Error_TooLarge):
        return lifecycle.Failure_Rejected(f"larger than the bus allows ({error.value} bytes)")
    return lifecycle.Failure_Unavailable(error.value)
