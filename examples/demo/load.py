"""The clients, in a process of their own: `python -m examples.demo.load PORT product 3 8`.

Each client is a thread that sends the next request when the answer to the last one is complete, on
a new connection, over plain sockets: an HTTP library would take more of the processor than it
leaves to what is measured. Prints what happened as JSON.
"""

import json
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier
from time import perf_counter

from examples.demo.workloads import WORKLOADS

PATIENCE = 30.0  # seconds


def ask(port: int, request: bytes) -> str:
    """Send one request; return the status, or the name of the error."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(request)
            start = connection.recv(65536)
            while connection.recv(65536):
                pass
    except OSError as error:
        return type(error).__name__
    return start[9:12].decode() or "empty answer"


def client(port, workload, seconds, number, barrier):
    random, answers = Random(number), []
    barrier.wait()
    start = now = perf_counter()
    while now < start + seconds:
        status = ask(port, workload.request(random))
        then, now = now, perf_counter()
        answers.append((status, now - then))
    return answers


def drive(port, workload, seconds, clients):
    """Return the answers by status, the latencies in seconds, and how long it all took."""
    barrier = Barrier(clients + 1)
    with ThreadPoolExecutor(clients) as threads:
        running = [
            threads.submit(client, port, workload, seconds, number, barrier)
            for number in range(clients)
        ]
        barrier.wait()
        start = perf_counter()
        answers = [answer for each in running for answer in each.result()]
        elapsed = perf_counter() - start
    statuses, latencies = zip(*answers, strict=True)
    return {"statuses": Counter(statuses), "latencies": latencies, "elapsed": elapsed}


if __name__ == "__main__":
    to, name, duration, count = sys.argv[1:]
    print(json.dumps(drive(int(to), WORKLOADS[name], float(duration), int(count))))
