"""http.client and requests, which send the whole of a body before they read anything: http_bodies.py URL LENGTH..."""

import http.client
import os
import sys
from urllib.parse import urlsplit

import requests

PIECE = 100_000
TIMEOUT = 60  # seconds without any progress

url = sys.argv[1]
echoed = 0


def pieces(body):
    return (body[at : at + PIECE] for at in range(0, len(body), PIECE))


def check(name, status, back, body):
    global echoed
    if status != 200 or back != body:
        sys.exit(f"{name} of {len(body)} bytes: status {status}, {len(back)} bytes back")
    echoed += 1


for length in map(int, sys.argv[2:]):
    body = os.urandom(length)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        connection.request(method, "/", body)
        response = connection.getresponse()
        check(f"http.client {method}", response.status, response.read(), body)
    chunked = {"Transfer-Encoding": "chunked"}
    connection.request("POST", "/", pieces(body), chunked, encode_chunked=True)
    response = connection.getresponse()
    if response.getheader("Content-Length") != str(length):
        sys.exit("an answer to chunks without a Content-Length")
    check("http.client in chunks", response.status, response.read(), body)
    connection.close()

    with requests.Session() as session:
        session.trust_env = False
        for name, data in (("", body), (" in chunks", pieces(body))):
            response = session.post(url, data=data, timeout=TIMEOUT)
            check("requests" + name, response.status_code, response.content, body)
print(f"{echoed} bodies")
