"""Looks at every page of a built documentation in headless Chromium.

``python doc/check_pages.py doc/_build/html`` shows each page in two widths, that of a
desk (1280 pixels) and of a telephone (390), and names

- code that is cut, and pages that are wider than the window,
- pictures whose smallest letters are below nine pixels as they are shown,
- links to files or places that are not there,
- errors that the page writes to the console.

Needs Chromium (``chromium``, ``chromium-browser`` or ``google-chrome``) and Pillow.
Pages are served on this machine, and a page in Chromium shows one after the other
in a frame of the right width and sends back what it has measured.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from PIL import Image

WIDTHS = (1280, 390)
SMALLEST = 9.0
# As `doc/_ext/pictures.py` writes it.
KEY = "smallest text"
SECONDS_A_PAGE = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1400,1000",
)

LISTENER = """<script>
window.troubles = [];
addEventListener("error", e => troubles.push(
  e.message || "not loaded: " + (e.target.src || e.target.href)), true);
addEventListener("unhandledrejection", e => troubles.push("" + e.reason));
console.error = (...a) => troubles.push(a.join(" "));
</script>"""

LOOK = """<!doctype html><body><script>
function measure(page, width, frame, notes) {
  const found = [], doc = frame.contentDocument, view = frame.contentWindow;
  const name = e => e.textContent.trim().slice(0, 60).replace(/\\s+/g, " ");
  if (doc.documentElement.scrollWidth > width + 1)
    found.push("is " + doc.documentElement.scrollWidth + " pixels wide");
  for (const e of doc.querySelectorAll("article pre, article dt.sig"))
    if (e.offsetParent && (e.scrollWidth > e.clientWidth + 1
        || e.scrollHeight > e.clientHeight + 1))
      found.push("cuts code (" + e.scrollWidth + " by " + e.scrollHeight + " in "
        + e.clientWidth + " by " + e.clientHeight + "): " + name(e));
  for (const e of doc.querySelectorAll("article img")) {
    if (!e.offsetParent || e.closest(".sphx-glr-thumbcontainer")) continue;
    const path = decodeURI(new URL(e.currentSrc || e.src).pathname);
    if (!(path in notes)) continue;
    const size = notes[path] * e.clientWidth / e.naturalWidth;
    if (size < SMALLEST)
      found.push("shows letters of " + size.toFixed(1) + " pixels: " + path);
  }
  for (const e of view.troubles || []) found.push("console: " + e);
  return found.map(words => [page, width, words]);
}
function shown(page, width) {
  return new Promise(done => {
    const frame = document.createElement("iframe");
    frame.style = "border:0;height:900px;width:" + width + "px";
    frame.onload = async () => {
      const view = frame.contentWindow;
      for (const e of frame.contentDocument.images) {
        e.loading = "eager";
        await Promise.race([e.decode().catch(() => 0), rest(2000)]);
      }
      await frame.contentDocument.fonts.ready;
      done(frame);
    };
    frame.src = "/" + page;
    document.body.append(frame);
  });
}
const rest = ms => new Promise(done => setTimeout(done, ms));
async function all() {
  const task = await (await fetch("/__task__")).json();
  for (const page of task.pages)
    for (const width of task.widths) {
      const frame = await shown(page, width);
      const found = measure(page, width, frame, task.notes);
      frame.remove();
      await fetch("/__found__", {method: "POST", body: JSON.stringify(found)});
    }
  await fetch("/__end__", {method: "POST", body: "[]"});
}
all().catch(e => fetch("/__found__",
  {method: "POST", body: JSON.stringify([["", 0, "stopped: " + e]])})
  .then(() => fetch("/__end__", {method: "POST", body: "[]"})));
</script>""".replace("SMALLEST", str(SMALLEST))


class _Links(HTMLParser):
    """Links of a page, and the places in it that can be linked to."""

    def __init__(self):
        super().__init__()
        self.links, self.places = set(), set()

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key == "id" or (tag == "a" and key == "name"):
                self.places.add(value)
            elif key in ("href", "src") and value:
                self.links.add(value)


def broken_links(root, pages):
    """Pages and links in them that lead nowhere in the built folder."""
    read = {}
    for page in pages:
        read[page] = parser = _Links()
        parser.feed((root / page).read_text(encoding="utf-8"))
    for page, parser in read.items():
        for link in sorted(parser.links):
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            path, place = urldefrag(urljoin(page, unquote(link)))
            path = urlsplit(path).path.lstrip("/") or page
            if (root / path).is_dir():
                path = f"{path.rstrip('/')}/index.html"
            if not (root / path).is_file():
                yield page, f"links to {link}, which is not there"
            elif place and path in read and place not in read[path].places:
                yield page, f"links to {link}: the page has no such place"


def notes_of_pictures(root):
    """Pixels of the smallest letters by the path of a picture."""
    notes = {}
    for path in root.rglob("*.png"):
        with Image.open(path) as picture:
            note = picture.info.get(KEY)
        if note:
            notes[f"/{path.relative_to(root).as_posix()}"] = float(note)
    return notes


def make_handler(root, task, found, alive, end):
    """A server of the pages, of the task, and a taker of what was found."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args):
            pass

        def answer(self, body, kind="text/html; charset=utf-8"):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            path = unquote(urlsplit(self.path).path).lstrip("/")
            if path == "__look__":
                self.answer(LOOK.encode())
            elif path == "__task__":
                self.answer(json.dumps(task).encode(), "application/json")
            elif path == "favicon.ico":
                self.answer(b"")
            elif path in task["pages"]:
                text = (root / path).read_text(encoding="utf-8")
                self.answer(text.replace("<head>", "<head>" + LISTENER, 1).encode())
            else:
                super().do_GET()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.extend(json.loads(body))
            alive.set()
            self.answer(b"")
            if self.path == "/__end__":
                end.set()

    return Handler


def looked_at(root, pages, browser):
    """What Chromium finds in the pages: page, width and words."""
    task = {"pages": pages, "widths": WIDTHS, "notes": notes_of_pictures(root)}
    found, alive, end = [], threading.Event(), threading.Event()
    handler = make_handler(root, task, found, alive, end)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/__look__"
        command = [
            browser,
            *OPTIONS,
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            address,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            limit = 60 + SECONDS_A_PAGE * len(pages)
            if not end.wait(limit):
                found.append(("", 0, f"Chromium was not done in {limit} seconds"))
        finally:
            process.terminate()
            process.wait(20)
            server.shutdown()
    return found


def main(folder):
    root = Path(folder).resolve()
    pages = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.html"))
    pages = [page for page in pages if not page.startswith("_")]
    if not pages:
        sys.exit(f"{root} has no pages.")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"None of {', '.join(BROWSERS)} is installed.")
    troubles = [f"{page} {words}" for page, words in broken_links(root, pages)]
    for page, width, words in looked_at(root, pages, browser):
        troubles.append(f"{page} ({width}) {words}")
    print("\n".join(troubles))
    if troubles:
        sys.exit(f"{len(troubles)} troubles in {len(pages)} pages")
    print(f"{len(pages)} pages in widths {WIDTHS}: nothing cut, broken or too small")


if __name__ == "__main__":
    main(*sys.argv[1:])
