"""`.rq` files on a web server: only what is needed is fetched, and no wrong answer is believed."""

import numpy as np
import pytest

import refquant
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import open_source, read, read_header, tensors_digest, write_checkpoint
from refquant.formats.rq.http_source import FRONT_BYTES
from tests.command_line import call
from tests.range_server import serving
from tests.test_rq import assert_same, varied_checkpoint


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as found:
        yield found


def large_checkpoint():
    """Four tensors of 64 KiB and more, so that none is in the first request."""
    rng = np.random.default_rng(3)
    tensors = {
        f"t{number}": refquant.quantize(
            rng.standard_normal((256, 512)).astype(np.float32), "int/affine[bits=8,sym,channel]"
        )
        for number in range(4)
    }
    return Checkpoint(None, tensors, {}, None, {}, {})


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_model_is_read_from_a_server(compression, server, tmp_path):
    checkpoint = varied_checkpoint()
    write_checkpoint(tmp_path / "a.rq", checkpoint, compression=compression)
    write_checkpoint(tmp_path / "s.rq", checkpoint, compression=compression, shard_size=20_000)
    for name in ("a.rq", "s.rq"):
        for verify in ("fast", "full"):
            assert_same(read(server.address(name), verify=verify), checkpoint)
    assert tensors_digest(open_checkpoint(server.address("s.rq"))) == tensors_digest(checkpoint)


def test_one_tensor_costs_its_own_bytes(server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    found = read(server.address("a.rq"))
    assert server.asked == [("a.rq", 0, FRONT_BYTES)]
    server.asked.clear()
    tensor = found.tensors["t2"]
    segments = read_header(tmp_path / "a.rq").segments[5:7]
    assert len(server.asked) == 2
    for (_, offset, length), before, segment in zip(
        server.asked, read_header(tmp_path / "a.rq").segments[4:6], segments, strict=True
    ):
        # The padding before a segment comes with it, and is looked at.
        assert (offset, offset + length) == (before.end, segment.end)
    assert sum(length for _, _, length in server.asked) - tensor.nbytes < 128


def test_a_shard_is_asked_for_when_needed(server, tmp_path):
    write_checkpoint(tmp_path / "s.rq", large_checkpoint(), shard_size=150_000)
    found = read(server.address("s.rq?download=true"))
    assert {name for name, _, _ in server.asked} == {"s.rq"}
    assert found.tensors["t0"].shape == (256, 512)
    assert len({name for name, _, _ in server.asked}) == 2


def test_padding_on_a_server_is_looked_at_with_its_segment(server, tmp_path):
    path = tmp_path / "a.rq"
    write_checkpoint(path, varied_checkpoint())
    segment = next(s for s in read_header(path).segments[2:] if s.stored_length % 64)
    data = bytearray(path.read_bytes())
    data[segment.end] = 1
    path.write_bytes(data)
    assert read_header(path).problem.code == "E_PAD"
    found = read(server.address("a.rq"))
    with pytest.raises(FormatError) as error:
        tensors_digest(found)
    assert error.value.code == "E_PAD"


def test_a_front_longer_than_the_first_request(server, tmp_path):
    zero = refquant.quantize(np.zeros(3, np.float32), "float/f32")
    tensors = {f"{'n' * 100}{number}": zero for number in range(700)}
    write_checkpoint(tmp_path / "a.rq", Checkpoint(None, tensors, {}, None, {}, {}))
    assert len(read(server.address("a.rq")).tensors) == 700
    assert len(server.asked) < 4


def ignores_ranges(answer):
    answer["status"] = 200


def sends_more(answer):
    answer["body"] += b"x"


def sends_more_unannounced(answer):
    answer["body"] += b"x"
    answer["headers"]["Content-Length"] = None


def sends_less(answer):
    answer["body"] = answer["body"][:-1]


def breaks_off(answer):
    answer["headers"]["Content-Length"] = str(len(answer["body"]))
    answer["body"] = answer["body"][:-9]


def sends_other_bytes(answer):
    stated = answer["headers"]["Content-Range"]
    first, _, rest = stated.removeprefix("bytes ").partition("-")
    answer["headers"]["Content-Range"] = f"bytes {int(first) + 1}-{rest}"


def tells_no_range(answer):
    del answer["headers"]["Content-Range"]


def tells_no_length(answer):
    stated = answer["headers"]["Content-Range"].rpartition("/")[0]
    answer["headers"]["Content-Range"] = f"{stated}/*"


def encodes(answer):
    answer["headers"]["Content-Encoding"] = "gzip"


def changes_its_tag(answer):
    answer["headers"]["ETag"] = '"2"'


def loses_its_tag(answer):
    del answer["headers"]["ETag"]


def changes_its_length(answer):
    stated, _, total = answer["headers"]["Content-Range"].rpartition("/")
    answer["headers"]["Content-Range"] = f"{stated}/{int(total) + 64}"


FIRST = {
    ignores_ranges: "E_HTTP_RANGE",
    sends_more: "E_HTTP_BODY",
    sends_less: "E_HTTP_BODY",
    sends_more_unannounced: "E_HTTP_BODY",
    sends_other_bytes: "E_HTTP_BODY",
    tells_no_range: "E_HTTP_BODY",
    tells_no_length: "E_HTTP_BODY",
    encodes: "E_HTTP_BODY",
    changes_its_length: "E_LENGTH",
}
LATER = FIRST | {
    ignores_ranges: "E_HTTP_CHANGED",
    changes_its_tag: "E_HTTP_CHANGED",
    loses_its_tag: "E_HTTP_CHANGED",
    changes_its_length: "E_HTTP_CHANGED",
}


@pytest.mark.parametrize("spoil", FIRST)
def test_a_wrong_first_answer(spoil, server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    server.spoil = lambda _, answer: spoil(answer)
    kind = UnsupportedError if FIRST[spoil] == "E_HTTP_RANGE" else FormatError
    with pytest.raises(kind) as error:
        read(server.address("a.rq"))
    assert error.value.code == FIRST[spoil]


@pytest.mark.parametrize("spoil", LATER)
def test_a_wrong_later_answer(spoil, server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    found = read(server.address("a.rq"))
    server.spoil = lambda _, answer: spoil(answer)
    with pytest.raises(FormatError) as error:
        found.tensors["t1"]
    assert error.value.code == LATER[spoil]
    server.spoil = None
    assert found.tensors["t1"].shape == (256, 512)


def test_an_answer_that_breaks_off(server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    found = read(server.address("a.rq"))
    server.spoil = lambda _, answer: breaks_off(answer)
    with pytest.raises((FormatError, UsageError), match=r"sent|read"):
        found.tensors["t1"]


def test_a_file_that_is_replaced_on_the_server(server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    found = read(server.address("a.rq"))
    server.version = "2"
    # The server is told which version is wanted, and answers with the whole of the new one.
    with pytest.raises(FormatError, match="another version is there now") as error:
        found.tensors["t1"]
    assert error.value.code == "E_HTTP_CHANGED"


def redirect(target, status=302):
    def spoil(number, answer):
        if number == 0:
            answer.update(status=status, body=b"", headers={"Location": target})

    return spoil


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status, server, tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    server.spoil = redirect("/a.rq?signed=1", status)
    found = read(server.address("elsewhere"))
    assert found.tensors["t3"].shape == (256, 512)


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.rq", "http://127.0.0.1:x@127.0.0.1/a.rq", "http:"],
)
def test_redirects_that_lead_away(target, server):
    server.spoil = redirect(target)
    with pytest.raises(UsageError, match="cannot open"):
        read(server.address("a.rq"))


def test_redirects_without_end(server):
    def spoil(_, answer):
        answer.update(status=302, body=b"", headers={"Location": "/a.rq"})

    server.spoil = spoil
    with pytest.raises(UsageError, match="redirects"):
        read(server.address("a.rq"))


def test_a_signed_address_that_expires_is_asked_for_again(server, tmp_path):
    write_checkpoint(tmp_path / "signed.rq", large_checkpoint())
    gone = []

    def spoil(_, answer):
        if answer["status"] == 404:
            answer.update(status=302, headers={"Location": "/signed.rq"})
        elif gone:
            answer.update(status=gone.pop(), body=b"", headers={})

    server.spoil = spoil
    found = read(server.address("a.rq"))
    gone.append(403)
    assert found.tensors["t1"].shape == (256, 512)


def test_what_is_not_there(server, tmp_path, capsys):
    with pytest.raises(UsageError, match="404"):
        read(server.address("none.rq"))
    (tmp_path / "empty.rq").touch()
    with pytest.raises(FormatError) as error:
        read(server.address("empty.rq"))
    assert error.value.code == "E_SIZE"
    write_checkpoint(tmp_path / "s.rq", large_checkpoint(), shard_size=150_000)
    for shard in tmp_path.glob("s-*"):
        shard.unlink()
    with pytest.raises(FormatError) as error:
        read(server.address("s.rq")).tensors["t0"]
    assert error.value.code == "E_SHARD_MISSING"
    closed = server.address("a.rq").replace(str(server.port), "1")
    assert call(capsys, "inspect", closed).status == 2


def test_inspection_fetches_front_matter_only(server, tmp_path, capsys):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())
    done = call(capsys, "inspect", server.address("a.rq"), "--tensors")
    assert done.status == 0
    assert "256 x 512" in done.out
    assert {(offset, length) for _, offset, length in server.asked} == {(0, FRONT_BYTES)}
    assert call(capsys, "verify", server.address("a.rq")).status == 0


def test_an_object_of_ones_own_can_be_read(tmp_path):
    write_checkpoint(tmp_path / "a.rq", large_checkpoint())

    class Counted:
        def __init__(self, inner):
            self.inner, self.count = inner, 0
            self.name, self.size = inner.name, inner.size

        def read_at(self, offset, length):
            self.count += length
            return self.inner.read_at(offset, length)

        def sibling(self, _):
            return None

    source = Counted(open_source(tmp_path / "a.rq"))
    found = read(source)
    assert source.count < 20_000
    assert found.tensors["t1"].shape == (256, 512)
