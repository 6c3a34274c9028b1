"""Reads users, groups and a history from the repo, knowing nothing of it but its address.

Services and messages are found by gRPC reflection. What to read comes as JSON on standard input; what
was read goes, in protobuf's JSON form, to standard output.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CALL_TIME_MAX_SECONDS = 30
PAGE = 50


class Repo:
    """Calls of services that the server describes itself."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(database)
        self.names = sorted(name for name in database.get_services() if name.startswith("gochat."))
        self.methods = {
            method.name: method
            for name in self.names
            for method in self.pool.FindServiceByName(name).methods
        }

    def call(self, name, **request):
        """One call; a stream is read to its end, as a list."""
        method = self.methods[name]
        question = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        stub = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        call = stub(
            f"/{method.containing_service.full_name}/{name}",
            request_serializer=question.SerializeToString,
            response_deserializer=answer.FromString,
        )
        answered = call(question(**request), timeout=CALL_TIME_MAX_SECONDS)
        return list(answered) if method.server_streaming else answered

    def history(self, conversation, reader):
        """All that a reader may see, page by page, oldest first."""
        messages, more = [], True
        while more:
            after = messages[-1].seq_id if messages else 0
            page = self.call(
                "GetConversationMessages",
                conversation_id=conversation,
                after_seq=after,
                limit=PAGE,
                reader_id=reader,
            )
            messages.extend(page.messages)
            more = page.has_more
        return messages


def refusal(call):
    """How a call that must fail is refused: the status, and the number of our error code."""
    try:
        call()
    except grpc.RpcError as error:
        return {"status": error.code().name, "code": dict(error.trailing_metadata() or ()).get("gochat-code")}
    raise AssertionError("it was not refused")


def main():
    asked = json.load(sys.stdin)
    repo = Repo(asked["address"])
    group_id, member = int(asked["group"].removeprefix("group_")), int(asked["member"])
    parts = repo.call("GetMemberships", group_ids=[group_id])
    plain = json_format.MessageToDict
    read = {
        "services": repo.names,
        "user": plain(repo.call("GetUserByUsername", username=asked["username"])),
        "group": plain(repo.call("GetGroup", group_id=group_id)),
        "members": [plain(one) for one in repo.call("GetGroupMembers", group_id=group_id).members],
        "membership": [str(user) for part in parts for user in part.user_ids],
        "history": [plain(one) for one in repo.history(asked["group"], member)],
        "refused": refusal(lambda: repo.history(asked["group"], int(asked["stranger"]))),
    }
    json.dump(read, sys.stdout)


if __name__ == "__main__":
    main()
