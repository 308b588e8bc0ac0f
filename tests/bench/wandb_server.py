"""A stand-in for W&B's server: as much of it as a run needs to begin, to go on, and to upload its history."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """Keeps one run's history, line by line. `hang` lets it answer nothing any more."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: list[str] = []
        self.run_ids: set[str] = set()
        self.exit_codes: list[int] = []
        self.hang = threading.Event()

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that is gone is no error here."""

    def history(self) -> dict[int, dict[str, float]]:
        """Step -> row, without what W&B adds of its own."""
        rows = [json.loads(line, parse_int=float) for line in self.lines]
        assert len({row["_step"] for row in rows}) == len(rows)
        return {int(row["_step"]): {name: row[name] for name in row if name[0] != "_"} for row in rows}

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """What the service asks for, by the name of the question."""
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
        if "RunResumeStatus" in query:
            return {"model": {**project, "bucket": self._bucket() if self.run_ids else None}}
        if "UpsertBucket" in query:
            self.run_ids.add(variables["name"])
            return {"upsertBucket": {"bucket": {**self._bucket(), "project": project}, "inserted": True}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url()}/upload"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def _bucket(self) -> dict[str, Any]:
        counts = {"historyLineCount": len(self.lines), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps(self.lines[-1:]), "eventsTail": "[]", "summaryMetrics": "{}"}
        config = {"config": "{}", "wandbConfig": '{"t": 1}', "tags": []}
        (name,) = self.run_ids
        return {"id": "b", "name": name, "displayName": name, **config, **counts, **tails}

    def stream(self, message: dict[str, Any]) -> None:
        """Take in a piece of the history."""
        if piece := message.get("files", {}).get("wandb-history.jsonl"):
            self.lines[piece["offset"] :] = piece["content"]
        if message.get("complete"):
            self.exit_codes.append(message["exitcode"])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.server.hang.is_set():
            threading.Event().wait(120)
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.graphql(asked["query"], asked["variables"])}
        elif self.path.endswith("/file_stream"):
            self.server.stream(json.loads(body))
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
