"""A program with a queue of its own: no daemon, one encrypted file.

    python examples/embedded.py

It prints:

    a letter to ada@example.org
    a letter to bob@example.org
    {'sent': 2}
"""

import os
import tempfile
from pathlib import Path

import jobengine

# In earnest: not in the source, and not in the environment of everybody.
SECRET = os.environ.get("MAIL_SECRET", "only good enough for an example")

handlers = jobengine.Worker()


@handlers.handler("mail", permits=1)
def send(job: jobengine.HeldJob) -> None:
    """Send one letter."""
    print("a letter to", job.content["to"])


def main() -> None:
    """Queue two letters, and send what there is. The file would keep them over a crash;
    here it goes at the end."""
    path = Path(tempfile.gettempdir()) / f"letters-{os.getpid()}.queuedb"
    with jobengine.open(path, secret=SECRET) as engine:
        for to in ("ada@example.org", "bob@example.org"):
            engine.enqueue("mail", {"to": to})

        handlers.client = engine
        handlers.run_until_idle()

        print({"sent": engine.stats("mail").complete})
    path.unlink()


if __name__ == "__main__":
    main()
