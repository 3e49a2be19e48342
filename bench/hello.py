"""The least that a Flask application does. Served beside ours, for comparison."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Say so."""
    return "hello"
