"""`python -m tests.transport.serve` runs the small application, configured by the environment."""

from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_server import bind, serve

if __name__ == "__main__":
    settings = Settings()
    listening = bind(settings)
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - the test reads where to call
    serve("tests.transport.app:create_app", settings, listening)
