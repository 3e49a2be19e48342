"""Fan-out and gather: a book is a job, each page of it another, run by processes.

    JOBENGINE_NAME=app python examples/word_count.py

It prints:

    the 3
    lake 2
"""

from collections import Counter

from jobengine import Client, Context, HeldJob, Worker

BOOK = [
    "The night comes down, the lamps are lit",
    "and nobody has seen the lake",
    "a boat is on that lake",
]

worker = Worker()


@worker.handler("example-pages", processes=2)
def count_page(job: HeldJob) -> dict[str, int]:
    """How often each word is on the page."""
    return Counter(word.strip(",.").lower() for word in job.content.split())


# Of its own queue: books that wait must not hold what pages need.
@worker.handler("example-books", permits=4)
def count_book(ctx: Context, job: HeldJob) -> dict[str, int]:
    """How often each word is in the book."""
    uids = job.saved
    if uids is None:
        pages = ctx.client.enqueue_many("example-pages", job.content)
        uids = [page.uid for page in pages]
        # A second run waits for the same pages, and queues no others.
        job.checkpoint(uids)
    total: Counter[str] = Counter()
    for uid in uids:
        total += Counter(ctx.client.handle("example-pages", uid).result(timeout=60))
    return total


def main() -> None:
    """Count one book."""
    with Client.from_env() as client, worker:
        words = client.enqueue("example-books", BOOK).result(timeout=60)
    for word, count in Counter(words).most_common(2):
        print(word, count)


if __name__ == "__main__":  # the processes read this file too
    main()
