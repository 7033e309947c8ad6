"""A server of chat completions on this machine, which answers as it is told and notes what it was asked."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stub:
    """A server whose `say` maps the text of a question to (status, content); it notes what it was sent.

    Content that is a dict is the whole answer.
    """

    def __init__(self):
        self.say = longer
        self.asked, self.keys, self.seconds, self.running, self.most = [], set(), 0.0, 0, 0
        self.headers: dict[str, str] = {}  # of answers that are none
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                stub.running += 1
                stub.most = max(stub.most, stub.running)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, body))
                stub.keys.add(self.headers.get("Authorization"))
                time.sleep(stub.seconds)
                status, text = stub.say(body["messages"][-1]["content"])
                usage = {"prompt_tokens": 100, "completion_tokens": 2}
                answer = {"choices": [{"message": {"content": text}}], "usage": usage}
                if isinstance(text, dict):
                    answer = text
                stub.running -= 1
                try:
                    self.send_response(status)
                    for name, value in stub.headers.items() if status != 200 else ():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(json.dumps(answer).encode())
                except OSError:  # it waited no longer
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def longer(text):
    """Prefers the longer answer, whichever place it has."""
    first, second = text.split("|")[1:]
    return 200, "A" if len(first) > len(second) else "B"
