"""The embedded ClickHouse behaves like a ClickHouse server for clickhouse-connect, loses nothing, and stays inside."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import lz4.frame
import numpy as np
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from economy.errors import SetupError
from infra.clickhouse import EmbeddedClickHouse
from queries.store import Store, StoreError
from schemas.clickhouse_server import ClickHouseConfig
from tests.processes import PATIENCE

pytestmark = pytest.mark.integration
ROWS = 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedClickHouse) -> Iterator[Any]:
    with clickhouse_connect.get_client(dsn=server.dsn()) as opened:
        yield opened


@pytest.fixture
def reader(server: EmbeddedClickHouse) -> Iterator[Any]:
    with clickhouse_connect.get_client(dsn=server.dsn("reader")) as opened:
        yield opened


def table(client: Any, columns: str = "x Int64, y Int64", extra: str = "") -> str:
    name = f"t{time.monotonic_ns()}"
    client.command(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY x {extra}")
    return name


@pytest.mark.parametrize("compression", [False, "lz4", "gzip", "zstd"])
def test_a_block_of_many_frames_is_stored_whole(server: EmbeddedClickHouse, compression: Any) -> None:
    with clickhouse_connect.get_client(dsn=server.dsn(), compress=compression) as client:
        name = table(client)
        x = np.arange(ROWS)
        columns: Any = [x, x * 7]
        client.insert(name, columns, column_names=["x", "y"], column_oriented=True)
        assert client.query(f"SELECT count(), sum(x), sum(y) FROM {name}").result_rows == [
            (ROWS, int(x.sum()), int(x.sum()) * 7)
        ]


def test_a_token_and_not_the_content_decides_what_is_a_repetition(client: Any) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    inserts = [("a", [1, 2]), ("a", [1, 2]), ("a", [3, 4]), ("b", [1, 2])]
    for arrow in (False, True):
        name = table(client, extra=window)
        for token, (x, y) in inserts:
            settings = {"insert_deduplication_token": token}
            if arrow:
                client.insert_arrow(name, pa.table({"x": [x], "y": [y]}), settings=settings)
            else:
                client.insert(name, [[x, y]], column_names=["x", "y"], settings=settings)
        # Content alone would keep (1,2) and (3,4); the token keeps (1,2) twice.
        assert client.query(f"SELECT x, y FROM {name} ORDER BY x").result_rows == [(1, 2), (1, 2)]


def test_the_clients_own_ways_to_ask_work(client: Any) -> None:
    text = "a\tb'\\\né"
    assert client.query("SELECT {q:String}, {n:Int64}", parameters={"q": text, "n": 2**62}).result_rows == [
        (text, 2**62)
    ]
    assert client.query("SELECT %(q)s", parameters={"q": text}).result_rows == [(text,)]
    assert list(client.query_df("SELECT number AS k FROM numbers(4)").k) == [0, 1, 2, 3]
    assert client.query_arrow("SELECT toInt64(number) AS k FROM numbers(3)").column("k").to_pylist() == [0, 1, 2]
    with client.query_column_block_stream("SELECT number, toString(number) FROM numbers(500000)") as blocks:
        assert sum(sum(block[0]) for block in blocks) == 500_000 * 499_999 // 2
    with client.query_row_block_stream("SELECT number FROM numbers(100000000)") as blocks:
        next(blocks)  # leaving a stream early must not take the connection with it
    settings = {"max_block_size": 1000}
    assert client.query("SELECT getSetting('max_block_size')", settings=settings).result_rows == [(1000,)]
    assert client.query("SELECT getSetting('max_block_size')").result_rows[0][0] > 1000
    assert client.command("SELECT 'one -- string; /* not */ a comment' /* a comment */ -- another") == (
        "one -- string; /* not */ a comment"
    )
    none = client.query(
        "SELECT number AS k, toLowCardinality('a') AS s FROM numbers(3) WHERE number > {n:Int8}", {"n": 9}
    )
    assert none.column_names == ("k", "s")
    assert none.result_rows == []
    assert json.loads(client.raw_query("SELECT 1 AS a FORMAT JSONEachRow")) == {"a": 1}


def test_packed_rows_come_in_pieces(server: EmbeddedClickHouse) -> None:
    with Store(ClickHouseConfig.from_dsn(server.dsn("reader"))) as store:
        pieces = list(store.packed("SELECT number, toUInt8(7) FROM numbers({n:UInt64})", {"n": 300_000}))
        rows = np.frombuffer(b"".join(pieces), np.dtype([("number", np.uint64), ("seven", np.uint8)]))
        assert np.array_equal(rows["number"], np.arange(300_000))
        assert set(rows["seven"].tolist()) == {7}
        assert len(pieces) > 1
        assert list(store.packed("SELECT number FROM numbers(3) WHERE number > 5")) == []
        with pytest.raises(StoreError):
            list(store.packed("SELECT nonsense FROM numbers(3)"))
        with pytest.raises((StoreError, SetupError)):  # in the middle of the answer
            list(store.packed("SELECT throwIf(number = 9999999) FROM numbers(10000000)"))
        assert store.rows("SELECT 1 AS one") == [{"one": 1}]


def test_errors_carry_their_number_and_leave_the_server_well(client: Any) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)code: 47.*nope"):
        client.query("SELECT nope")
    with pytest.raises(DatabaseError, match=r"(?i)code: 60"):
        client.insert("absent", [[1]], column_names=["x"], column_type_names=["Int64"])
    with pytest.raises(DatabaseError, match=r"(?i)code: 115"):
        client.command("SELECT 1", settings={"no_such_setting": "1"})
    assert client.command("SELECT 1") == 1


def test_statements_run_side_by_side(server: EmbeddedClickHouse) -> None:
    found: list[int] = []

    def ask() -> None:
        with clickhouse_connect.get_client(dsn=server.dsn("reader")) as own:
            found.extend(own.query("SELECT sum(number) FROM numbers(1000)").result_rows[0][0] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [499_500] * 40


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {t} VALUES (1, 2)",
        "DROP TABLE {t}",
        "ALTER TABLE {t} DELETE WHERE 1",
        "CREATE TABLE other (x Int64) ENGINE = MergeTree ORDER BY x",
        "TRUNCATE TABLE {t}",
        "OPTIMIZE TABLE {t}",
        "SET readonly = 0",
    ],
)
def test_the_reader_cannot_write(client: Any, reader: Any, statement: str) -> None:
    name = table(client)
    client.insert(name, [[1, 1]])
    with pytest.raises(DatabaseError):
        reader.command(statement.format(t=name))
    with pytest.raises(DatabaseError, match=r"(?i)code: 164"):
        reader.insert(name, [[2, 2]])
    assert reader.query(f"SELECT x, y FROM {name}").result_rows == [(1, 1)]
    assert (name,) in reader.query("SHOW TABLES").result_rows


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT file('/etc/passwd')",
        "SELECT * FROM `file`('/etc/passwd', LineAsString)",
        "SELECT * FROM\n/* hidden */ file -- so\n ('/etc/passwd', LineAsString)",
        "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
        "SELECT * FROM s3('http://127.0.0.1:1/a', 'CSV')",
        "SELECT * FROM executable('id', 'TabSeparated', 's String')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM merge('default', '.*')",
        "SELECT * FROM python(os)",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM default.`/etc/passwd`",
        'SELECT * FROM "default" . "/etc/passwd"',
        "INSERT INTO FUNCTION file('out.csv', 'CSV', 'x Int8') SELECT 1",
        "INSERT INTO {t} FROM INFILE '/etc/passwd' FORMAT CSV",
        "SELECT 1 INTO OUTFILE 'out.csv'",
        "SELECT 1; DROP TABLE {t}",
        "CREATE TABLE k (x Int64) ENGINE = Kafka('a:1', 'b', 'c', 'JSONEachRow')",
        "CREATE TABLE k (x Int64) ENGINE `File`(CSV)",
        "CREATE TABLE k (x Int64) ENGINE = URL('http://127.0.0.1:1/', CSV)",
        "CREATE TABLE k (x Int64) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = s3)",
        "CREATE DATABASE k ENGINE = Filesystem('/etc')",
        "CREATE DICTIONARY k (x Int64) PRIMARY KEY x SOURCE(EXECUTABLE(COMMAND 'id')) LAYOUT(FLAT())",
        "CREATE FUNCTION k AS (x) -> x",
        "DROP DATABASE default",
        "SYSTEM SHUTDOWN",
        "ATTACH TABLE k FROM '/etc' (x Int64) ENGINE = MergeTree ORDER BY x",
        "SELECT $a$text$a$",
        "SELECT ‘text’",
    ],
)
def test_nothing_reaches_beyond_the_tables(client: Any, server: EmbeddedClickHouse, statement: str) -> None:
    name = table(client)
    with pytest.raises(DatabaseError):
        client.command(statement.format(t=name))
    assert client.command(f"SELECT count() FROM {name}") == 0
    assert not (server.folder / "spool" / "out.csv").exists()
    assert server.healthy()


def request(
    server: EmbeddedClickHouse, body: bytes = b"SELECT 1", host: str = "", user: str = "escape", **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    token = base64.b64encode(f"{user}:{server.password(user)}".encode()).decode()
    sent = {"Authorization": f"Basic {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request("POST", "/", body, {**sent, "Host": host} if host else sent)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_host_and_password_are_checked(server: EmbeddedClickHouse) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert request(server) == (200, b"1\n")
    assert request(server, host=f"localhost:{port}") == (200, b"1\n")
    for foreign in ("evil.example", f"evil.example:{port}", "127.0.0.1:1", f"127.0.0.1.evil.example:{port}"):
        assert request(server, host=foreign)[0] == 421
    assert request(server, Authorization="Basic " + base64.b64encode(b"escape:wrong").decode())[0] == 403
    assert request(server, Authorization="Basic " + base64.b64encode(b"default:").decode())[0] == 403
    assert request(server, Authorization="")[0] == 403
    # A link can make a browser send a GET, never with what it takes to change something.
    asked = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
    asked.request("GET", f"/?user=escape&password={server.password()}&query=CREATE+DATABASE+linked")
    assert b"Code: 164" in asked.getresponse().read()
    asked.close()
    kept = server.folder / "passwords.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    outside = [a for a in socket.gethostbyname_ex(socket.gethostname())[2] if not a.startswith("127.")]
    for address in outside:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, int(port))) != 0


def test_a_body_that_breaks_off_leaves_nothing(client: Any, server: EmbeddedClickHouse) -> None:
    name = table(client, "x Int64")
    body = f"INSERT INTO {name} FORMAT CSV\n".encode() + b"".join(b"%d\n" % k for k in range(ROWS))
    frames = b"".join(lz4.frame.compress(body[k : k + 100_000]) for k in range(0, len(body), 100_000))
    status, text = request(server, frames[:-9], Content_Encoding="lz4")
    assert status == 500
    assert b"the compressed body is damaged" in text
    assert request(server, b"not a frame", Content_Encoding="lz4")[0] == 500
    assert request(server, body, Content_Encoding="br")[0] == 500
    token = base64.b64encode(f"escape:{server.password()}".encode())
    host, port = server.url.removeprefix("http://").split(":")
    for head, sent in (
        (b"Content-Length: %d" % len(body), body[:-1000]),
        (b"Transfer-Encoding: chunked", b"%x\r\n" % len(body) + body[:-1000]),
        (b"Transfer-Encoding: chunked", b"%x\r\n" % len(body) + body + b"\r\n"),
    ):
        with socket.create_connection((host, int(port)), PATIENCE) as raw:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Basic %s\r\n%s\r\n\r\n"
                        % (host.encode(), port.encode(), token, head) + sent)  # fmt: skip
            raw.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert not answer.startswith(b"HTTP/1.1 200")
    assert client.command(f"SELECT count() FROM {name}") == 0
    limit = time.monotonic() + 60  # who has gone awaits no answer: the body may be there a little longer
    while list((server.folder / "spool").iterdir()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert request(server, frames, Content_Encoding="lz4")[0] == 200
    assert client.query(f"SELECT count(), sum(x) FROM {name}").result_rows == [(ROWS, ROWS * (ROWS - 1) // 2)]


def test_tables_outlive_the_server_and_a_kill(tmp_path: Path) -> None:
    with EmbeddedClickHouse(tmp_path) as first:
        with clickhouse_connect.get_client(dsn=first.dsn()) as client:
            client.command("CREATE TABLE kept (x Int64) ENGINE = MergeTree ORDER BY x")
            client.insert("kept", [[1]])
        rival = EmbeddedClickHouse(tmp_path, int(first.url.rsplit(":", 1)[1]))
        with pytest.raises(SetupError, match="taken"):
            rival.start()
        assert first.process is not None
        first.process.kill()
        first.process.wait()
    with EmbeddedClickHouse(tmp_path) as second:
        with clickhouse_connect.get_client(dsn=second.dsn()) as client:
            assert client.command("SELECT sum(x) FROM kept") == 1
        second.stop()
        assert second.process is not None
        assert second.process.returncode == 0  # it did not have to be killed
