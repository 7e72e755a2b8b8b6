"""The label page's server: what it answers, whom it lets in, and what strangers cannot do."""

from __future__ import annotations

import http.client
import json
import re
import socket
import stat
import threading
import time

import pytest

from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.label_page import limits
from prefrl_cli.label_page.address import ADDRESS_FILE, kept_address, new_address
from prefrl_cli.label_page.server import LabelServer, serve
from prefrl_cli.preference.database import AnswerDatabase, Asked

CLIP = {"kind": "maze", "size": 4, "walls": [5], "goal": 15, "path": [0, 1, 2]}
LONGER = {**CLIP, "path": [0, 1, 2, 3]}


def asked(number, side="left"):
    return Asked(7, number, f"hash {number}", side, (CLIP, LONGER))


@pytest.fixture
def database(tmp_path):
    found = AnswerDatabase(tmp_path / "answers.sqlite")
    found.note(budget=10, seeds=1)
    found.ask([asked(0), asked(1, "right"), asked(2)], 0)
    yield found
    found.close()


@pytest.fixture
def server(database, tmp_path):
    found = serve(database, tmp_path / ADDRESS_FILE)
    yield found
    found.close()


def ask(server, method, path, body=None, token=True, headers=None, **query):
    """The status and the JSON of a reply."""
    if token is not None:
        query = {"token": server.address.token if token is True else token, **query}
    where = path + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=20)
    given = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, where, given, headers or {})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, json.loads(text) if text and "json" in reply.headers["Content-Type"] else text


def raw(server, data, wait=True):
    """The first line of what comes back for bytes."""
    with socket.create_connection(("127.0.0.1", server.address.port), 20) as one:
        one.sendall(data)
        if wait:
            one.shutdown(socket.SHUT_WR)
        return one.makefile("rb").readline().decode()


def test_questions_and_answers(server, database):
    found = {}
    for answer in ("left", "right", "cannot_tell"):
        status, question = ask(server, "GET", "/api/question")
        assert status == 200 and set(question) == {"question", "left", "right"}
        found[question["question"]] = question
        given = {"question": question["question"], "answer": answer, "seconds": 1.5, "strong": answer == "left"}
        assert ask(server, "POST", "/api/answer", given) == (200, {"question": question["question"], "answer": answer})
    assert len(found) == 3
    assert sorted(len(one["left"]["path"]) for one in found.values()) == [3, 3, 4]  # the database says which side
    assert ask(server, "GET", "/api/question") == (204, b"")
    kept = database.rows("SELECT answer, strong, seconds, rater FROM answers ORDER BY id")
    assert kept == [(one, one == "left", 1.5, "person") for one in ("left", "right", "cannot_tell")]
    status, progress = ask(server, "GET", "/api/progress")
    assert status == 200 and (progress["answered"], progress["left"], progress["ended"]) == (3, 8, "")


def test_an_answer_can_ask_for_the_next_question(server):
    number = ask(server, "GET", "/api/question")[1]["question"]
    said = ask(server, "POST", "/api/answer", {"question": number, "answer": "left", "next": True})[1]
    assert said["next"]["question"] != number and set(said["next"]) == {"question", "left", "right"}
    assert ask(server, "GET", "/api/question")[1] == said["next"]
    for _ in range(2):
        given = {"question": said["next"]["question"], "answer": "left", "next": True}
        said = ask(server, "POST", "/api/answer", given)[1]
    assert said["next"] is None


def test_the_same_answer_twice_counts_once(server, database):
    number = ask(server, "GET", "/api/question")[1]["question"]
    given = {"question": number, "answer": "left", "nonce": "abc"}
    assert [ask(server, "POST", "/api/answer", given)[0] for _ in range(3)] == [200] * 3
    status, said = ask(server, "POST", "/api/answer", {**given, "nonce": "other"})
    assert status == 409 and "waits no more" in said["error"]
    assert len(database.rows("SELECT 1 FROM answers")) == 1


def test_two_pages_get_different_questions(server):
    first, second = (ask(server, "GET", "/api/question", page=page)[1]["question"] for page in ("one", "two"))
    assert first != second
    assert ask(server, "GET", "/api/question", page="one")[1]["question"] == first  # the page was loaded again


def test_an_answer_is_taken_back(server, database):
    numbers = []
    for _ in range(2):
        numbers.append(ask(server, "GET", "/api/question")[1]["question"])
        ask(server, "POST", "/api/answer", {"question": numbers[-1], "answer": "equal"})
    assert ask(server, "POST", "/api/undo", {"nonce": "x"})[1]["question"] == numbers[1]
    assert ask(server, "POST", "/api/undo", {"nonce": "x"})[1]["question"] == numbers[1]  # sent twice
    assert ask(server, "POST", "/api/undo", {"nonce": "y"})[1]["question"] == numbers[0]
    assert ask(server, "POST", "/api/undo", {})[0] == 409
    undone = "SELECT count(*) FROM answers WHERE undoes IS NOT NULL"
    assert database.rows(undone) == [(2,)]


def test_the_model_s_guess_is_told_after_the_answer_and_only_where_it_is_asked_for(server, database):
    clips = {"kind": "maze"}, {"kind": "maze"}
    database.ask([Asked(7, 50 + n, f"h{n}", "right", clips, guess=0.25) for n in range(3)], 99)
    for shows, told in ((False, {}), (True, {"guess": 0.75})):  # the first of the pair is on the right
        database.note(guess=shows)
        status, question = ask(server, "GET", "/api/question")
        assert status == 200 and set(question) == {"question", "left", "right"}
        given = {"question": question["question"], "answer": "left", "next": True, "nonce": f"n{shows}"}
        _, said = ask(server, "POST", "/api/answer", given)
        assert set(said.pop("next")) == {"question", "left", "right"}
        assert said == {"question": question["question"], "answer": "left", **told}
        # The same request about a question that waits is no way to its guess.
        other = ask(server, "GET", "/api/question")[1]["question"]
        assert "guess" not in ask(server, "POST", "/api/answer", {**given, "question": other})[1]


def test_a_person_is_done(server, database):
    assert ask(server, "POST", "/api/done", {}) == (200, {"done": True})
    assert ask(server, "GET", "/api/question")[0] == 204
    assert ask(server, "GET", "/api/progress")[1]["done"] is True


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/api/question", "/api/progress", "/nothing"])
def test_without_the_token_nobody_comes_in(server, path):
    assert ask(server, "GET", path, token=None)[0] == 401
    for wrong in ("0" * 32, "", server.address.token[:-1], server.address.token + "0", "%ff%00", "%c3%a4"):
        assert ask(server, "GET", path, token=wrong)[0] in (400, 403)
    assert ask(server, "GET", path)[0] == (404 if path == "/nothing" else 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_and_names_are_kept_out(server, database, headers):
    number = ask(server, "GET", "/api/question")[1]["question"]
    assert ask(server, "GET", "/", headers=headers)[0] == 403
    given = {"question": number, "answer": "left"}
    assert ask(server, "POST", "/api/answer", given, headers=headers)[0] == 403
    assert database.rows("SELECT 1 FROM answers") == []


def test_the_pages_own_requests_and_a_tunnel_come_in(server):
    own = f"127.0.0.1:{server.address.port}"
    for host in (own, f"localhost:{server.address.port}", "localhost:9", "[::1]:9"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert ask(server, "GET", "/api/progress", headers=headers)[0] == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "question"),
        (b"{", "JSON"),
        (b"[1]", "JSON"),
        (b"[" * 9000, "JSON"),
        (b"\xff\xfe", "JSON"),
        ({"question": "1", "answer": "left"}, "question"),
        ({"question": True, "answer": "left"}, "question"),
        ({"question": 2**63, "answer": "left"}, "question"),
        ({"question": -1, "answer": "left"}, "question"),
        ({"question": 1, "answer": "LEFT"}, "answer"),
        ({"question": 1, "answer": ["left"]}, "answer"),
        ({"question": 1, "answer": "left", "seconds": -1}, "seconds"),
        (b'{"question": 1, "answer": "left", "seconds": NaN}', "seconds"),
        (b'{"question": 1, "answer": "left", "seconds": 1e999}', "seconds"),
        ({"question": 1, "answer": "left", "strong": 1}, "strong"),
        ({"question": 1, "answer": "equal", "strong": True}, "strong"),
        ({"question": 1, "answer": "equal", "next": 1}, "next"),
        ({"question": 1, "answer": "left", "nonce": "a b"}, "nonce"),
        ({"question": 1, "answer": "left", "rater": "a\nb"}, "rater"),
        ({"question": 1, "answer": "left", "rater": 3}, "rater"),
        ({"question": 1, "answer": "left", "page": "/"}, "page"),
    ],
)
def test_malformed_answers_are_refused_in_a_sentence(server, database, body, named):
    status, said = ask(server, "POST", "/api/answer", body)
    assert status == 400 and named in said["error"]
    assert database.rows("SELECT 1 FROM answers") == []


def test_methods_and_heads(server):
    token = server.address.token
    assert ask(server, "GET", "/api/answer")[0] == ask(server, "POST", "/api/question", {})[0] == 405
    assert ask(server, "DELETE", "/api/question")[0] in (405, 411)
    host = b"Host: 127.0.0.1\r\n"
    begin = f"GET /api/progress?token={token} HTTP/1.1\r\n".encode() + host
    assert "200" in raw(server, begin + b"\r\n")
    post = f"POST /api/answer?token={token} HTTP/1.1\r\n".encode() + host
    for data, status in (
        (begin + b"Host: 127.0.0.1\r\n\r\n", "403"),
        (begin.replace(host, b"") + b"\r\n", "403"),
        (f"GET /api/progress?token={token}\r\n".encode() + host + b"\r\n", "505"),
        (begin.replace(b"HTTP/1.1", b"HTTP/3.0") + b"\r\n", "505"),
        (begin + b"a: b\r\n" * 200 + b"\r\n", "431"),
        (begin + b"a: " + b"b" * 70_000 + b"\r\n\r\n", "431"),
        (b"G" * 100_000, "431"),
        (b"GET http://[ HTTP/1.1\r\n" + host + b"\r\n", "400"),
        (f"GET http://other/api/progress?token={token} HTTP/1.1\r\n".encode() + host + b"\r\n", "400"),
        (begin.replace(b"?token", b"?token=1&token") + b"\r\n", "400"),
        (begin.replace(b" HTTP", b"&a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1&j=1&k=1 HTTP") + b"\r\n", "400"),
        (post + b"\r\n", "411"),
        (post + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "411"),
        (post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "411"),
        (post + b"Content-Length: -1\r\n\r\n", "400"),
        (post + b"Content-Length: +2\r\n\r\n{}", "400"),
        (post + b"Content-Length: 10\r\n\r\n{}", "400"),
        (post + b"Content-Length: 999999999\r\n\r\n{}", "413"),
    ):
        assert status in raw(server, data), data[:200]
    assert raw(server, b"") == ""
    assert ask(server, "GET", "/api/progress")[0] == 200


def test_every_reply_says_what_a_page_may_do(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=20)
    connection.request("GET", f"/?token={server.address.token}")
    reply = connection.getresponse()
    text = reply.read().decode()
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in reply.headers and reply.headers["Server"].startswith("prefrl")
    assert "<script>" not in text and "style=" not in text and "onclick" not in text
    sizes = [len(ask(server, "GET", path)[1]) for path in ("/", "/page.js", "/page.css")]
    assert sum(sizes) < 150_000
    for path in ("/", "/page.js", "/page.css"):
        links = re.findall(
            rb"(?:https?:)?//[\w.]+", ask(server, "GET", path)[1].replace(b"http://www.w3.org/2000/svg", b"")
        )
        assert [link for link in links if b"." in link] == []
    connection.close()


def test_slow_and_many_clients_keep_nobody_out(server, monkeypatch):
    monkeypatch.setattr("prefrl_cli.label_page.connections.SECONDS", 0.3)
    idle = []
    for _ in range(3 * limits.MOST_CONNECTIONS):
        idle.append(socket.create_connection(("127.0.0.1", server.address.port), 20))
        idle[-1].sendall(b"GET / HT")
    started = time.monotonic()
    assert ask(server, "GET", "/api/progress")[0] == 200
    assert time.monotonic() - started < 5
    assert len(server._connections._open) <= limits.MOST_CONNECTIONS
    for one in idle:  # each is told or closed, although it never went on
        one.settimeout(20)
        try:
            assert one.recv(100) == b""
        except ConnectionError:
            pass
        one.close()


def test_requests_have_a_rate(server, monkeypatch):
    wrong = [ask(server, "GET", "/api/progress", token="0" * 32)[0] for _ in range(120)]
    assert set(wrong) == {403, 429} and wrong[0] == 403
    assert ask(server, "GET", "/api/progress")[0] == 200  # strangers use up their own


def test_a_full_disk_is_told_and_nothing_is_acknowledged(server, database):
    number = ask(server, "GET", "/api/question")[1]["question"]
    pages = database.rows("PRAGMA page_count")[0][0]
    database.execute(f"PRAGMA max_page_count={pages}")
    given, statuses = {"question": number, "answer": "left"}, []
    while (
        statuses[-1:] != [507] and len(statuses) < 400
    ):  # an answer and its undo by turns, until the last page is full
        path = "/api/undo" if len(statuses) % 2 else "/api/answer"
        status, said = ask(server, "POST", path, {**given, "nonce": "n" * 50 + str(len(statuses))})
        statuses.append(status)
    assert statuses[-1] == 507 and "disk is full" in said["error"]
    assert database.rows("SELECT count(*) FROM answers")[0][0] == len(statuses) - 1 == statuses.count(200) > 10


def test_a_resumed_run_is_where_it_was(database, tmp_path):
    first = serve(database, tmp_path / ADDRESS_FILE)
    first.close()
    second = serve(database, tmp_path / ADDRESS_FILE)
    assert second.address == first.address
    assert stat.S_IMODE((tmp_path / ADDRESS_FILE).stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ADDRESS_FILE).write_bytes((tmp_path / ADDRESS_FILE).read_bytes())
    (tmp_path / "other" / ADDRESS_FILE).chmod(0o600)
    third = serve(database, tmp_path / "other" / ADDRESS_FILE)  # the port is taken: another one
    assert third.address.port != second.address.port and third.address.token == second.address.token
    second.close()
    third.close()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"port": 1}',
        '{"port": 0, "token": "00000000000000000000000000000000"}',
        '{"port": true, "token": "00000000000000000000000000000000"}',
        '{"port": 8080, "token": "short"}',
        '{"port": 8080, "token": 3}',
        "[" * 2000,
    ],
)
def test_an_address_that_is_none_is_not_taken(tmp_path, content):
    (tmp_path / ADDRESS_FILE).write_text(content)
    (tmp_path / ADDRESS_FILE).chmod(0o600)
    assert kept_address(tmp_path / ADDRESS_FILE) is None


def test_a_token_that_others_could_read_is_not_taken(database, tmp_path):
    server = serve(database, tmp_path / ADDRESS_FILE)
    server.close()
    assert kept_address(tmp_path / ADDRESS_FILE) == server.address
    (tmp_path / ADDRESS_FILE).chmod(0o644)  # as a copy from elsewhere has it
    assert kept_address(tmp_path / ADDRESS_FILE) is None
    (tmp_path / ADDRESS_FILE).rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / ADDRESS_FILE).symlink_to(tmp_path / "elsewhere")
    assert kept_address(tmp_path / ADDRESS_FILE) is None


def test_a_folder_in_the_address_file_s_place_is_no_address(tmp_path):
    (tmp_path / ADDRESS_FILE).mkdir(mode=0o700)
    assert kept_address(tmp_path / ADDRESS_FILE) is None


def test_a_port_or_host_that_cannot_be_had_is_one_line(server, database, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(ConfigError, match=rf"teacher.port={server.address.port}: .*; try teacher.port=0"):
        serve(database, tmp_path / "new" / ADDRESS_FILE, port=server.address.port)
    with pytest.raises(ConfigError, match="teacher.host=no.such.host.invalid: .*; try teacher.host=127.0.0.1"):
        serve(database, tmp_path / "new" / ADDRESS_FILE, host="no.such.host.invalid")
    assert not (tmp_path / "new" / ADDRESS_FILE).exists()


def test_only_a_typed_host_is_open_to_others_and_says_so(database, tmp_path, capsys):
    serve(database, tmp_path / ADDRESS_FILE).close()
    assert capsys.readouterr().err == ""
    server = serve(database, tmp_path / ADDRESS_FILE, host="0.0.0.0")
    assert "every machine that reaches this one" in capsys.readouterr().err
    assert server.url.startswith("http://127.0.0.1:")
    assert ask(server, "GET", "/", headers={"Host": "192.168.0.7:80"})[0] == 200
    assert ask(server, "GET", "/", headers={"Host": "evil.example"})[0] == 403
    server.close()


def test_an_open_page_hears_how_training_ended(server):
    ask(server, "GET", "/api/progress")
    closing = threading.Thread(target=server.close, args=["Training has finished."])
    closing.start()
    time.sleep(0.1)
    assert ask(server, "GET", "/api/progress")[1]["ended"] == "Training has finished."
    closing.join(5)
    assert not closing.is_alive()


def test_without_an_open_page_nobody_is_waited_for(database, tmp_path):
    server = serve(database, tmp_path / ADDRESS_FILE)
    started = time.monotonic()
    server.close("Training has finished.", linger=30)
    assert time.monotonic() - started < 5


def test_what_a_handler_did_not_expect_is_told_and_the_page_goes_on(database, monkeypatch):
    told = []
    server = LabelServer(database, new_address(), tell=told.append)
    monkeypatch.setattr(database, "progress", lambda: 1 / 0)
    assert ask(server, "GET", "/api/progress")[0] == 500
    until = time.monotonic() + 10
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    assert told == ["the label page: ZeroDivisionError: division by zero"]
    assert ask(server, "GET", "/api/question")[0] == 200
    server.close()
