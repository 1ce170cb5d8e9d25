"""Bad input gets one clear answer and costs nothing else."""
import socket

import books
import pytest
from wire import Closed

LONG = 10000       # above what a command line may have
VALUE_MAX = 1 << 20

BAD_LINES = [
    ("no such command", "buy everything", "ERROR"),
    ("empty line", "", "ERROR"),
    ("no key", "get", "ERROR"),
    ("too few words", "set k 0", "ERROR"),
    ("too many words", "delete k 1 2 3", "ERROR|CLIENT_ERROR"),
    ("number that is none", "set k a b c", "CLIENT_ERROR"),
    ("negative length", "set k 0 0 -1", "CLIENT_ERROR"),
    ("key too long", "get " + "k" * 251, "CLIENT_ERROR"),
    ("bytes of no text", "\x7f\xff\x01\x00\x80", "ERROR"),
    ("cart command without arguments", "cadd", "CLIENT_ERROR"),
    ("not a cart key", "cadd plain SKU-1 1", "CLIENT_ERROR BAD_CART"),
    ("no cart behind the prefix", "cadd cart: SKU-1 1", "CLIENT_ERROR BAD_CART"),
    ("quantity with a plus", "cadd cart:s SKU-1 +1", "CLIENT_ERROR BAD_QTY"),
    ("hex quantity", "cadd cart:s SKU-1 0x10", "CLIENT_ERROR BAD_QTY"),
    ("quantity out of range", "cadd cart:s SKU-1 99999999999", "CLIENT_ERROR BAD_QTY"),
    ("quantity above the limit", "cset cart:s SKU-1 1000", "CLIENT_ERROR QTY_LIMIT"),
    ("negative quantity", "cset cart:s SKU-1 -1", "CLIENT_ERROR BAD_QTY"),
    ("line key too long", "cadd cart:s " + "l" * 129 + " 1", "CLIENT_ERROR BAD_LINE"),
    ("control character in a line key", "cadd cart:s SKU\x01 1", "CLIENT_ERROR BAD_LINE"),
    ("no such flag", "cadd cart:s SKU-1 1 ?", "CLIENT_ERROR BAD_FLAG"),
    ("token too long", "cadd cart:s SKU-1 1 I" + "t" * 33, "CLIENT_ERROR BAD_FLAG"),
    ("empty token", "cadd cart:s SKU-1 1 I", "CLIENT_ERROR BAD_FLAG"),
    ("currency that is none", "cadd cart:s SKU-1 1 Ueuro", "CLIENT_ERROR BAD_FLAG"),
    ("another currency", "cadd cart:s SKU-1 1 UUSD", "CLIENT_ERROR CURRENCY"),
    ("negative price", "cadd cart:s SKU-1 1 P-5", "CLIENT_ERROR BAD_FLAG"),
    ("ext that is no base64", "cadd cart:s SKU-1 1 E***", "CLIENT_ERROR BAD_FLAG"),
    ("a level nobody can reach", "cadd cart:s SKU-1 1 Dquorum", "SERVER_ERROR NOT_SAFE"),
    ("no such level", "cadd cart:s SKU-1 1 Dmaybe", "CLIENT_ERROR BAD_FLAG"),
    ("a path with a bad escape", "incr cart:s/a%41/qty 1", "CLIENT_ERROR"),
    ("a path to nowhere", "incr cart:s/SKU-1/price 1", "CLIENT_ERROR"),
    ("incr by a word", "incr cart:s/SKU-1/qty two", "CLIENT_ERROR"),
    ("incr above the limit", "incr cart:s/SKU-1/qty 5000", "CLIENT_ERROR QTY_LIMIT"),
]

BAD_VALUES = [
    ("no document", "set cart:s", b"hello", "CLIENT_ERROR"),
    ("nothing", "set cart:s", b"", "CLIENT_ERROR"),
    ("half a document", "set cart:s", b'{"lines":[', "CLIENT_ERROR"),
    ("lines that are none", "set cart:s", b'{"lines":7}', "CLIENT_ERROR"),
    ("a line twice", "set cart:s",
     b'{"lines":[{"line":"a","qty":1},{"line":"a","qty":2}]}', "CLIENT_ERROR"),
    ("nested beyond reason", "set cart:s", b"[" * 100000, "CLIENT_ERROR"),
    ("a line of words", "set cart:s/SKU-1", b"two", "CLIENT_ERROR"),
    ("a line without qty", "set cart:s/SKU-1", b'{"price":1}', "CLIENT_ERROR"),
    ("a line with a fraction", "set cart:s/SKU-1", b'{"qty":1.5}', "CLIENT_ERROR"),
    ("a line with too many", "set cart:s/SKU-1", b"1000", "CLIENT_ERROR QTY_LIMIT"),
    ("bytes that are no UTF-8", "set cart:s/SKU-1", b'{"qty":1,"ext":"\xff"}', "CLIENT_ERROR"),
    ("append to a cart", "append cart:s", b"x", "CLIENT_ERROR"),
    ("prepend to a line", "prepend cart:s/SKU-1", b"x", "CLIENT_ERROR"),
    ("a value too large", "set k", b"x" * (VALUE_MAX + 1), "SERVER_ERROR object too large"),
    ("a document too large", "set cart:s", b" " * (VALUE_MAX + 1),
     "SERVER_ERROR object too large"),
]


@pytest.fixture(name="shop", scope="module")
def start_once(tmp_path_factory):
    """One daemon for all bad input; its sentinels must be the same after each."""
    from daemon import Server  # pylint: disable=import-outside-toplevel
    server = Server(tmp_path_factory.mktemp("bad"))
    server.start(qty_max=999)
    with server.client() as client:
        assert client.store("set sentinel 5 0", "intact") == "STORED"
        assert client.cmd("cadd cart:s SKU-1 2 P100 UEUR") == "HD"
    yield server
    assert server.stop() == 0, server.log_end()


@pytest.fixture(name="sentinels", autouse=True)
def compare_sentinels(shop):
    with shop.client() as client:
        before = client.cart("cart:s")
        yield
        assert client.cart("cart:s") == before
        assert client.get("sentinel") == b"intact"


def named(rows):
    return pytest.mark.parametrize("row", [row[1:] for row in rows], ids=[row[0] for row in rows])


def check_answer(answer, wanted):
    assert answer.startswith(tuple(wanted.split("|"))), answer


@named(BAD_LINES)
def test_a_bad_line_gets_one_answer(shop, row):
    line, wanted = row
    with shop.client() as client:
        client.send(line.encode("latin-1") + b"\r\n")
        check_answer(client.line(), wanted)
        assert client.get("sentinel") == b"intact"


@named(BAD_VALUES)
def test_a_bad_value_gets_one_answer(shop, row):
    command, value, wanted = row
    with shop.client() as client:
        check_answer(client.store(f"{command} 0 0", value), wanted)
        assert client.get("sentinel") == b"intact"


@pytest.mark.parametrize("length", [LONG, 100 * LONG])
def test_an_over_long_line_gets_one_answer(shop, length):
    with shop.client() as client:
        client.send("cadd cart:s " + "x" * length + " 1\r\n")
        assert client.line() == "CLIENT_ERROR line too long"
        assert client.get("sentinel") == b"intact"


def test_a_line_that_never_ends_is_refused(shop):
    with shop.client() as client:
        client.send("x" * LONG)
        assert client.line() == "CLIENT_ERROR line too long"


def test_a_block_without_its_end_gets_one_answer(shop):
    with shop.client() as client:
        client.send("set k 0 0 3\r\nabcdef\r\n")
        assert client.line() == "CLIENT_ERROR bad data chunk"
        while (line := client.cmd("version")) == "ERROR":
            pass  # what is left of the block may be read as a command
        assert line.startswith("VERSION")


def test_a_half_closed_connection_gets_all_its_answers(shop):
    with shop.client() as client:
        client.send("cadd cart:h SKU-1 1\r\n" * 500 + "get sentinel\r\ncadd cart:h cut")
        client.half_close()
        lines = client.rest()
    assert lines == ["HD"] * 500 + ["VALUE sentinel 5 6", "intact", "END"]
    with shop.client() as client:
        assert client.qty("cart:h", "SKU-1") == 500
        assert client.qty("cart:h", "cut") == 0
        assert client.cmd("cdel cart:h") == "HD"


def test_a_connection_that_breaks_off_harms_nobody(shop):
    for text in ("set k 0 0 1000\r\nabc", "get sent", "cadd cart:b SKU-1 1\r\n" * 100):
        client = shop.client()
        client.send(text)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # with a reset
    with shop.client() as client:
        assert client.get("k") is None


def test_bytes_that_come_one_by_one_are_one_command(shop):
    with shop.client() as client:
        for byte in b"set slow 0 0 2\r\nok\r\nget slow\r\n":
            client.send(bytes([byte]))
        assert client.line() == "STORED"
        assert client.read_values() == {"slow": (b"ok", None)}


def test_quit_closes(shop):
    with shop.client() as client:
        client.send("quit\r\n")
        with pytest.raises(Closed):
            client.line()


def test_bad_input_left_nothing_else_in_the_database(shop):
    books.check(shop, ["cart:s", "cart:h", "cart:b"])
