"""Models elsewhere: URLs, repositories of Hugging Face, names of a registry; all from a server of our own."""
import hashlib, json, os, re, socket, socketserver, ssl, struct, subprocess, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import SNUG, mkmodel, snug, snug_json

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.log.append((self.path, self.headers.get("Range"), self.headers.get("Accept")))
        answer = self.server.answers.get(path)
        if answer is None:
            return self.reply(404, b"no such thing")
        answer(self)

    def reply(self, status, body, **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def ranges(read, total, shift=0, claim=None, cut=None):
    """Answers ranges of a file of `total` bytes that read(from, n) gives."""
    def answer(h):
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", h.headers["Range"])
        first, last = int(m[1]), min(int(m[2]), total - 1)
        if first >= total:
            return h.reply(416, b"")
        h.send_response(206)
        h.send_header("Content-Range", f"bytes {first + shift}-{last + shift}/{claim or total}")
        h.send_header("Content-Length", str(last - first + 1))
        h.end_headers()
        body = read(first, last - first + 1)
        h.server.sent += len(body)
        if cut and len(body) > cut:
            h.wfile.write(body[:cut])
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
        else:
            h.wfile.write(body)
    return answer


def of_bytes(data, **kw):
    return ranges(lambda at, n: data[at:at + n], len(data), **kw)


def of_file(path, **kw):
    def read(at, n):
        with open(path, "rb") as f:
            f.seek(at)
            return f.read(n)
    return ranges(read, os.path.getsize(path), **kw)


def whole(data, length=True):
    """A server that does not know ranges."""
    def answer(h):
        h.send_response(200)
        if length:
            h.send_header("Content-Length", str(len(data)))
        h.send_header("Connection", "close")
        h.end_headers()
        h.close_connection = True
        try:
            h.wfile.write(data)
        except OSError:
            pass  # not waited for
    return answer


def redirect(to):
    return lambda h: h.reply(302, b"over there", Location=to)


def status(code):
    return lambda h: h.reply(code, b"{}")


def as_json(value):
    return lambda h: h.reply(200, json.dumps(value).encode(), Content_Type="application/json")


class Server:
    def __init__(self, tls=None):
        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            def handle_error(self, *args):
                pass
        self.http = Quiet(("127.0.0.1", 0), Handler)
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.http.answers, self.http.log, self.http.sent = {}, [], 0
        self.url = f"http{'s' if tls else ''}://localhost:{self.http.server_port}"
        self.env = {"HF_ENDPOINT": self.url, "SNUG_REGISTRY": self.url, "no_proxy": "*", "SNUG_NET_TIMEOUT": "5"}
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def put(self, path, answer):
        self.http.answers[path] = answer
        return self.url + path

    @property
    def log(self):
        return self.http.log

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    s = Server()
    yield s
    s.close()


@pytest.fixture(scope="module")
def tiny(models):
    return open(models["llama"], "rb").read()


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    """A model with a large head: 64k names of tokens; and no data."""
    return mkmodel(tmp_path_factory.mktemp("shape") / "shape.gguf", "--arch", "llama", "--type", "Q4_0",
                   "--tok", "bpe", "--vocab", 65536, "--layers", 4)


def plan(server, name, *args, **kw):
    return snug("plan", name, *args, env=server.env, **kw)


ON = ("--on", "k80x2,3090")  # what is free there does not change meanwhile


def fails(server, name, *words, command="plan", env={}):
    p = snug(command, name, env={**server.env, **env})
    assert p.returncode == 1, p.stdout
    for w in words:
        assert w in p.stderr, p.stderr
    assert len(p.stderr.splitlines()) == 1
    return p.stderr


VARIES = {"plan_ms", "capacity_bytes", "free_bytes", "plan", "digest"}  # the host's memory, and what is hashed of it


def timeless(value):
    """A plan without what differs from run to run."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in VARIES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


# --- URLs


def test_the_plan_of_a_url_is_that_of_the_file(server, models, tiny):
    url = server.put("/m/llama.gguf", of_bytes(tiny))
    assert timeless(snug_json("plan", url, "--full", *ON, env=server.env)) == \
        timeless(snug_json("plan", models["llama"], "--full", *ON))
    there, here = plan(server, url, *ON), snug("plan", models["llama"], *ON)
    assert there.returncode == 0 and there.stderr == ""
    strip = lambda s: re.sub(r"\d+(\.\d+)? ms", "", s)
    assert strip(there.stdout) == strip(here.stdout)


def test_show_tokenize_and_verify_take_a_url(server, models, tiny, tmp_path):
    url = server.put("/llama.gguf", of_bytes(tiny))
    there = snug("show", url, "--keys", "--tensors", env=server.env).stdout.splitlines()
    here = snug("show", models["llama"], "--keys", "--tensors").stdout.splitlines()
    assert there[0] == url and there[2:] == here[2:]
    assert snug("tokenize", url, stdin="hello", env=server.env).stdout == snug("tokenize", models["llama"], stdin="hello").stdout
    (tmp_path / "p.json").write_text(plan(server, url, "--json", "--full").stdout)
    assert snug("verify", tmp_path / "p.json", url, env=server.env).returncode == 0


def test_only_the_head_is_fetched_in_ranges_that_double(server, shape):
    url = server.put("/shape.gguf", of_file(shape))
    head = shape.stat().st_size
    assert plan(server, url).returncode == 0
    asked = [tuple(map(int, re.findall(r"\d+", r))) for _, r, _ in server.log]
    assert asked[0] == (0, (1 << 20) - 1)
    for (_, last), (first, end) in zip(asked, asked[1:]):
        assert first == last + 1 and end + 1 == 2 * first
    assert server.http.sent < head / 2, "data was fetched"


def test_a_query_and_a_redirect_are_followed(server, tiny):
    server.put("/real", of_bytes(tiny))
    server.put("/twice", redirect("/real"))
    url = server.put("/llama.gguf", redirect(server.url + "/twice")) + "?download=true"
    p = plan(server, url)
    assert p.returncode == 0, p.stderr
    assert "download" not in p.stdout and "llama" in p.stdout


def test_the_second_range_is_asked_for_where_the_redirect_led(server, shape):
    server.put("/real", of_file(shape))
    assert plan(server, server.put("/s.gguf", redirect("/real"))).returncode == 0
    assert [p for p, _, _ in server.log[:3]] == ["/s.gguf", "/real", "/real"]


def test_a_server_without_ranges_does(server, tiny, shape):
    assert plan(server, server.put("/a.gguf", whole(tiny))).returncode == 0
    assert plan(server, server.put("/b.gguf", whole(shape.read_bytes()))).returncode == 0
    assert plan(server, server.put("/c.gguf", whole(tiny, length=False))).returncode == 0


def test_a_connection_that_breaks_is_gone_on_with(server, shape):
    p = plan(server, server.put("/s.gguf", of_file(shape, cut=700000)))
    assert p.returncode == 0, p.stderr


def test_a_split_model_is_all_its_heads(server, models, tiny, tmp_path):
    files = split(tiny, 3)
    for i, data in enumerate(files):
        name = f"m-{i + 1:05}-of-00003.gguf"
        (tmp_path / name).write_bytes(data)
        server.put("/x/" + name, of_bytes(data))
    here = snug_json("plan", tmp_path / "m-00001-of-00003.gguf", "--full", *ON)
    for part in 1, 2: # whichever is named
        there = snug_json("plan", f"{server.url}/x/m-{part:05}-of-00003.gguf", "--full", *ON, env=server.env)
        assert timeless(there) == timeless(here)
    del server.http.answers["/x/m-00002-of-00003.gguf"]
    fails(server, server.url + "/x/m-00001-of-00003.gguf", "m-00002-of-00003.gguf: HTTP status 404")


# --- what goes wrong


@pytest.mark.parametrize("code, word", [(401, "log in"), (403, "not for everybody"), (404, "check the name"), (429, "wait"),
                                        (500, "try again later"), (503, "try again later"), (418, "not an answer")])
def test_a_status_says_what_to_do(server, code, word):
    url = server.put("/m.gguf", status(code))
    fails(server, url, url, f"HTTP status {code}", word)
    e = json.loads(snug("plan", url, "--json", env=server.env).stdout)
    assert str(code) in e["error"] and e["code"] == ("notfound" if code in (401, 403, 404) else "io")


def test_a_cut_head_is_refused(server, tiny):
    fails(server, server.put("/m.gguf", of_bytes(tiny[:3000])), "/m.gguf: byte", "the file has")
    fails(server, server.put("/n.gguf", whole(tiny[:3000])), "/n.gguf: byte", "the file has")


def test_a_file_whose_data_was_cut_is_refused(server, tiny):
    fails(server, server.put("/m.gguf", of_bytes(tiny[:-4000])), "/m.gguf: byte", f"but the file has {len(tiny) - 4000} bytes")


def test_a_length_that_lies_is_refused(server, tiny, shape):
    fails(server, server.put("/m.gguf", of_bytes(tiny, claim=3000)), "3000")
    fails(server, server.put("/n.gguf", of_bytes(tiny, shift=512)), "not the bytes that were asked for")
    grows = iter(range(1, 99))
    data = shape.read_bytes()
    fails(server, server.put("/o.gguf", lambda h: of_bytes(data, claim=len(data) + next(grows))(h)), "it changed, or was cut")


def test_a_page_is_no_file(server):
    page = lambda h: h.reply(200, b"<html>log in</html>" * 9, Content_Type="text/html; charset=utf-8")
    fails(server, server.put("/m.gguf", page), "web page")
    fails(server, server.put("/n.gguf", of_bytes(b"<html>" * 99)), 'is not "GGUF"')
    fails(server, server.put("/empty.gguf", whole(b"")), "empty")
    fails(server, server.put("/gone.gguf", status(416)), "empty")


def test_a_redirect_in_circles_ends(server):
    url = server.put("/m.gguf", redirect("/m.gguf"))
    fails(server, url, "circles")
    assert len(server.log) < 9
    fails(server, server.put("/n.gguf", redirect("file:///etc/passwd")), "not as safe")


def test_nobody_listens(server):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        fails(server, f"http://127.0.0.1:{s.getsockname()[1]}/m.gguf", "check the network")
    fails(server, "http://no.such.host.invalid/m.gguf", "no.such.host.invalid")
    fails(server, "ftp://localhost/m.gguf", "only https and http")


def test_silence_has_an_end(server):
    stop = threading.Event()
    url = server.put("/m.gguf", lambda h: stop.wait(20))
    err = fails(server, url, "SNUG_NET_TIMEOUT", env={"SNUG_NET_TIMEOUT": "1"})
    stop.set()
    assert url in err
    assert snug("plan", url, env={"SNUG_NET_TIMEOUT": "soon"}).stderr.count("SNUG_NET_TIMEOUT takes seconds") == 1


def lying_head(kind):
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    if kind == "string":
        return head + struct.pack("<Q1sIQ", 1, b"k", 8, 1 << 36)
    if kind == "numbers":
        return head + struct.pack("<Q1sIIQ", 1, b"k", 9, 10, 1 << 33)
    return head + struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 1 << 23)  # strings, the empty ones that follow


@pytest.mark.parametrize("kind, most", [("string", 2 << 20), ("numbers", 2 << 20), ("strings", 64 << 20)])
def test_a_head_that_lies_costs_no_more_than_64_MiB(server, kind, most):
    head, total = lying_head(kind), 100 << 30
    url = server.put("/m.gguf", ranges(lambda at, n: head[at:at + n].ljust(n, b"\0"), total))
    p = subprocess.run(["sh", "-c", f"ulimit -v {(most + (128 << 20)) >> 10}; exec \"$@\"", "sh", SNUG, "plan", url],
                       env={**os.environ, **server.env}, capture_output=True, text=True)
    assert p.returncode == 1 and "more than 64 MiB" in p.stderr, p.stderr
    assert server.http.sent <= most


# --- TLS


@pytest.fixture
def tls(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                           "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], capture_output=True)
    if made.returncode:
        pytest.skip("no openssl command")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    s = Server(context)
    s.trusted = {**s.env, "SSL_CERT_FILE": str(cert)}
    yield s
    s.close()


def test_certificates_are_checked(tls, tiny):
    url = tls.put("/m.gguf", of_bytes(tiny))
    fails(tls, url, "certificate", "SSL_CERT_FILE")
    assert tls.log == []
    p = snug("plan", url, env=tls.trusted)
    assert p.returncode == 0, p.stderr
    fails(tls, url.replace("localhost", "127.0.0.1"), "127.0.0.1", env=tls.trusted) # another name


def test_https_does_not_lead_to_http(tls, server, tiny):
    plain = server.put("/m.gguf", of_bytes(tiny))
    fails(tls, tls.put("/m.gguf", redirect(plain)), "not as safe", env=tls.trusted)
    assert server.log == []


# --- names


def put_repo(server, repo, files):
    """A repository: path -> bytes."""
    listing = [{"type": "directory", "oid": "0", "size": 0, "path": "sub"}]
    for path, data in files.items():
        listing.append({"type": "file", "oid": "0", "size": len(data), "path": path})
        server.put(f"/cdn/{repo}/{path}".replace(" ", "%20"), of_bytes(data))
        server.put(f"/{repo}/resolve/main/{path}".replace(" ", "%20"), redirect(f"/cdn/{repo}/{path}".replace(" ", "%20")))
    server.put(f"/api/models/{repo}/tree/main", as_json(listing))


def test_a_repository_of_hugging_face(server, tiny):
    other = tiny[:100]
    put_repo(server, "some/tiny-GGUF", {"README.md": b"#", "mmproj-tiny-Q4_K_M.gguf": other, "tiny-Q4_K_S.gguf": other,
                                        "tiny-Q4_K_M.gguf": tiny, "tiny-UD-Q4_K_M.gguf": other, "tiny-Q8_0 x.gguf": tiny})
    for name in ("hf.co/some/tiny-GGUF", "hf.co/some/tiny-GGUF:q4_k_m", "huggingface.co/some/tiny-GGUF:Q8_0",
                 "hf.co/some/tiny-GGUF:tiny-Q4_K_M.gguf", "https://huggingface.co/some/tiny-GGUF"):
        p = plan(server, name)
        assert p.returncode == 0, (name, p.stderr)
    err = fails(server, "hf.co/some/tiny-GGUF:Q4_K", "no file with Q4_K in its name", "tiny-Q4_K_S.gguf")
    assert "mmproj" not in err
    fails(server, "hf.co/some/nothing", "/api/models/some/nothing/tree/main", "404", "check the name")
    assert "/some/tiny-GGUF/resolve/main/tiny-Q4_K_M.gguf" in plan(server, "hf.co/some/tiny-GGUF", "--llama-cpp").stdout


def test_a_split_model_of_a_repository(server, tiny):
    put_repo(server, "some/split", {f"sub/m-Q4_K_M-{i + 1:05}-of-00002.gguf": d for i, d in enumerate(split(tiny, 2))})
    p = plan(server, "hf.co/some/split")
    assert p.returncode == 0, p.stderr
    put_repo(server, "some/cut", {"m.gguf": tiny})
    server.put("/cdn/some/cut/m.gguf", of_bytes(tiny[:-32]))
    fails(server, "hf.co/some/cut", "it changed, or was cut")


def put_model(server, name, tag, data, layers=()):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(data)}
    server.put(f"/v2/{name}/manifests/{tag}", as_json({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [model, *layers]}))
    server.put(f"/v2/{name}/blobs/{digest}", redirect(f"/cdn/{digest[7:]}"))
    server.put(f"/cdn/{digest[7:]}", of_bytes(data))


def test_a_name_of_a_registry(server, tiny, tmp_path):
    template = {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 1}
    put_model(server, "library/tiny", "12b", tiny, [template])
    put_model(server, "library/tiny", "latest", tiny, [{**template, "mediaType": "application/vnd.ollama.image.projector", "size": 5 << 20}])
    put_model(server, "me/mine", "latest", tiny)
    for name in "tiny:12b", "library/tiny:12b", "me/mine", "https://ollama.com/library/tiny:12b":
        p = plan(server, name)
        assert p.returncode == 0 and p.stderr == "", (name, p.stderr)
    assert server.log[0][2] == MANIFEST
    p = plan(server, "tiny")
    assert p.returncode == 0 and "5.00 MiB in a file of its own" in p.stderr, p.stderr
    assert "tiny:12b" in plan(server, "tiny:12b").stdout
    fails(server, "tiny:7b", "no file tiny:7b here", "/v2/library/tiny/manifests/7b", "404")


def test_manifests_that_lead_elsewhere_are_refused(server, tiny):
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../x", "size": 9}
    for layers, word in (([layer], "digest"), ([], "no GGUF"), ("x", "no GGUF"), ([{**layer, "digest": 7}], "digest")):
        server.put("/v2/library/bad/manifests/latest", as_json({"layers": layers}))
        fails(server, "bad", "/v2/library/bad/manifests/latest", word)
    server.put("/v2/library/bad/manifests/latest", lambda h: h.reply(200, b"{" * 5000))
    fails(server, "bad", "no JSON")
    server.put("/v2/library/bad/manifests/latest", lambda h: h.reply(200, b" " * (2 << 20)))
    fails(server, "bad", "an answer of more than 1048576 bytes")


def test_a_file_here_comes_first_and_paths_ask_nobody(server, models, tmp_path, tiny):
    (tmp_path / "tiny").write_bytes(tiny)
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert plan(server, "tiny").returncode == 0
        for name in "none.gguf", "./none", "/none", "a/b/c", "none.json", "../x":
            assert "cannot open" in plan(server, name).stderr
    finally:
        os.chdir(here)
    assert server.log == []


def test_run_wants_the_file_here(server, tiny):
    fails(server, server.put("/m.gguf", of_bytes(tiny)), "its file has to be here", command="run")
    assert server.log == []


# --- splitting, as ggml-org/llama.cpp tools/gguf-split does


def split(data, n):
    """A small GGUF file as n files, tensors shared out in order."""
    import numpy as np
    from gguf import GGUFReader
    import tempfile, pathlib
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d) / "m.gguf"
        path.write_bytes(data)
        tensors = [(t.name, [int(x) for x in t.shape], int(t.tensor_type), t.data_offset, t.n_bytes) for t in GGUFReader(path).tensors]
    n_keys = struct.unpack_from("<Q", data, 16)[0]
    keys_end = data.index(struct.pack("<Q", len(tensors[0][0])) + tensors[0][0].encode())
    files = []
    for i in range(n):
        mine = tensors[len(tensors) * i // n:len(tensors) * (i + 1) // n]
        extra = b"".join(struct.pack("<Q", len(k)) + k + v for k, v in (
            (b"split.no", struct.pack("<IH", 2, i)), (b"split.count", struct.pack("<IH", 2, n)),
            (b"split.tensors.count", struct.pack("<Ii", 5, len(tensors)))))
        keys = data[24:keys_end] if i == 0 else b""
        out = b"GGUF" + struct.pack("<IQQ", 3, len(mine), 3 + (n_keys if i == 0 else 0)) + keys + extra
        at, body = 0, b""
        for name, dims, kind, offset, size in mine:
            out += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
            out += struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, len(body))
            body += data[offset:offset + size].ljust((size + 31) // 32 * 32, b"\0")
        files.append(out.ljust((len(out) + 31) // 32 * 32, b"\0") + body)
    return files
