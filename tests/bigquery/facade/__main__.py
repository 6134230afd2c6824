"""Start the façade and say where it listens; it ends when its standard input closes."""

import argparse
import json
import os
import socket
import sys
import threading

import uvicorn

from facade.rest import create_app
from facade.storage import serve
from facade.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(prog="facade", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of REST; 0 takes a free one")
    parser.add_argument("--storage-port", type=int, default=0, help="of gRPC; 0 takes a free one")
    parser.add_argument("--stay", action="store_true", help="go on when standard input closes")
    arguments = parser.parse_args()
    store = Store()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    server, storage_port = serve(store, arguments.storage_port)
    app = uvicorn.Server(uvicorn.Config(create_app(store), log_level="warning", access_log=False))
    if not arguments.stay:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    addresses = {"rest": f"http://127.0.0.1:{listener.getsockname()[1]}", "storage": f"127.0.0.1:{storage_port}"}
    print(json.dumps(addresses), flush=True)
    app.run(sockets=[listener])
    server.stop(None)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
