"""The parts of uvicorn that this package relies on although uvicorn documents none of them.

uvicorn may change them in any release. Each entry has a contract test in
`tests/service/server/test_uvicorn_contract.py`, and pyproject.toml admits only versions that pass those tests. To rely
on another internal, add it here.
"""

from typing import NamedTuple

__all__ = ["BEHAVIOURS", "INTERNALS", "Internal"]

_HTTP = "uvicorn.protocols.http.httptools_impl"
_CONNECTION = f"{_HTTP}.HttpToolsProtocol"
_CYCLE = f"{_HTTP}.RequestResponseCycle"
_FLOW = "uvicorn.protocols.http.flow_control.FlowControl"
_CONFIG = "uvicorn.config.Config"
_SERVER = "uvicorn.server.Server"
_STATE = "uvicorn.server.ServerState"
_PROCESS = "uvicorn.supervisors.multiprocess.Process"
_SUPERVISOR = "uvicorn.supervisors.multiprocess.Multiprocess"


class Internal(NamedTuple):
    """A name that uvicorn does not document.

    Attributes:
        owner: the class or module that has it, as a dotted path.
        name: the method, attribute or constant.
        used_for: what this package uses it for.
        parameters: a method's parameters without `self`; None for anything else.

    """

    owner: str
    name: str
    used_for: str
    parameters: tuple[str, ...] | None = None


INTERNALS = (
    Internal(_HTTP, "STATUS_LINE", "the first line of a refusal"),
    Internal(
        _CONNECTION,
        "__init__",
        "the server creates connections itself",
        ("config", "server_state", "app_state", "_loop"),
    ),
    Internal(_CONNECTION, "loop", "timers, and the delay before a held write"),
    Internal(_CONNECTION, "transport", "writing refusals, closing, and how much of an answer is unread"),
    Internal(_CONNECTION, "flow", "backpressure: pausing reads, and waiting until an answer is read"),
    Internal(_CONNECTION, "connections", "counting the open connections"),
    Internal(_CONNECTION, "cycle", "the newest request and how far it is"),
    Internal(_CONNECTION, "pipeline", "the requests that wait for the one in work"),
    Internal(_CONNECTION, "scope", "storing the disconnect and the flow control for the application"),
    Internal(_CONNECTION, "url", "the size of a head, and the shape of a refusal"),
    Internal(_CONNECTION, "headers", "the size of a head"),
    Internal(_CONNECTION, "parser", "reading a request that asks to upgrade, and the method and version of a request"),
    Internal(_CONNECTION, "timeout_keep_alive", "closing idle connections after an early answer"),
    Internal(_CONNECTION, "timeout_keep_alive_task", "closing idle connections after an early answer"),
    Internal(_CONNECTION, "timeout_keep_alive_handler", "closing idle connections after an early answer", ()),
    Internal(_CONNECTION, "_unset_keepalive_if_required", "stopping the idle timer when a request begins", ()),
    Internal(_CONNECTION, "_start_asgi_task", "knowing which request is in work", ("cycle", "app")),
    Internal(_CONNECTION, "connection_made", "counting connections, and joining writes", ("transport",)),
    Internal(_CONNECTION, "connection_lost", "cancelling the work for a client that has disconnected", ("exc",)),
    Internal(_CONNECTION, "data_received", "refusing what is not HTTP, and ignoring upgrades", ("data",)),
    Internal(_CONNECTION, "on_message_begin", "preparing the scope", ()),
    Internal(_CONNECTION, "on_url", "reading on after an ignored upgrade", ("url",)),
    Internal(_CONNECTION, "on_header", "reading on after an ignored upgrade", ("name", "value")),
    Internal(_CONNECTION, "on_headers_complete", "checking and limiting heads, and limiting pipelining", ()),
    Internal(_CONNECTION, "on_body", "counting the bytes of bodies", ("body",)),
    Internal(_CONNECTION, "on_message_complete", "closing idle connections after an early answer", ()),
    Internal(_CONNECTION, "on_response_complete", "limiting pipelining", ()),
    Internal(_CONNECTION, "shutdown", "answering a request that arrives while the server shuts down", ()),
    Internal(_CONNECTION, "pause_writing", "noticing that a client does not read its answer", ()),
    Internal(_CONNECTION, "resume_writing", "noticing that a client reads its answer again", ()),
    Internal(_CYCLE, "scope", "finding the disconnect of a request"),
    Internal(_CYCLE, "keep_alive", "closing connections while the server drains"),
    Internal(_CYCLE, "default_headers", "Connection: close instead of Keep-Alive"),
    Internal(_CYCLE, "response_started", "refusing a request only before its answer has begun"),
    Internal(_CYCLE, "response_complete", "the phase of a connection"),
    Internal(_CYCLE, "more_body", "the phase of a connection"),
    Internal(_CYCLE, "disconnected", "stopping the requests of a client that has disconnected"),
    Internal(_CYCLE, "message_event", "waking a request that waits for its body"),
    Internal(_FLOW, "pause_reading", "limiting pipelining", ()),
    Internal(_FLOW, "read_paused", "not blaming the client when the server does not read"),
    Internal(_FLOW, "drain", "counting an answer as memory until the client has read it", ()),
    Internal(_CONFIG, "loaded", "knowing whether the application exists yet"),
    Internal(_CONFIG, "loaded_app", "reaching the application's context"),
    Internal(_CONFIG, "timeout_worker_healthcheck", "how long a process may give no sign of life"),
    Internal(_CONFIG, "bind_socket", "the socket that the processes share", ()),
    Internal(_SERVER, "config", "reaching the application, and creating connections"),
    Internal(_SERVER, "server_state", "the connections to check, and how many requests are unanswered"),
    Internal(_SERVER, "lifespan", "its `state` belongs to every connection"),
    Internal(_SERVER, "servers", "replacing uvicorn's listeners by ours"),
    Internal(_SERVER, "should_exit", "shutting down"),
    Internal(_SERVER, "started", "the answer to a health check"),
    Internal(_SERVER, "startup", "replacing uvicorn's listeners by ours", ("sockets",)),
    Internal(_SERVER, "on_tick", "checking clients, the grace period and failures", ("counter",)),
    Internal(_SERVER, "handle_exit", "shutting down gracefully on the first signal", ("sig", "frame")),
    Internal(_STATE, "connections", "the connections to check"),
    Internal(_STATE, "tasks", "how many requests are unanswered"),
    Internal(_PROCESS, "__init__", "the supervisor creates our processes", ("config", "sockets")),
    Internal(_PROCESS, "config", "creating the server in its process"),
    Internal(_PROCESS, "process", "waiting for a process, and killing it"),
    Internal(_PROCESS, "pid", "noticing that a process was replaced"),
    Internal(_PROCESS, "exitcode", "the exit code of the supervisor"),
    Internal(_PROCESS, "parent_conn", "noticing that the supervisor has died"),
    Internal(_PROCESS, "child_conn", "answering health checks"),
    Internal(_PROCESS, "server", "running our server in the process"),
    Internal(_PROCESS, "target", "what runs in the process", ("sockets",)),
    Internal(_PROCESS, "always_pong", "noticing that the supervisor has died", ()),
    Internal(_PROCESS, "pong", "answering health checks only while the event loop runs", ()),
    Internal(_SUPERVISOR, "__init__", "creating the supervisor", ("config", "sockets")),
    Internal(_SUPERVISOR, "processes", "noticing that a process was replaced, and waiting for all"),
    Internal(_SUPERVISOR, "sockets", "no longer listening once all processes shut down"),
    Internal(_SUPERVISOR, "should_exit", "giving up"),
    Internal(_SUPERVISOR, "signal_queue", "noticing a second signal"),
    Internal(_SUPERVISOR, "run", "supervising until a signal arrives", ()),
    Internal(_SUPERVISOR, "keep_subprocess_alive", "pausing before a process is replaced", ()),
    Internal(_SUPERVISOR, "handle_signals", "noticing a second signal", ()),
    Internal(_SUPERVISOR, "handle_hup", "ignoring SIGHUP", ()),
    Internal(_SUPERVISOR, "handle_ttin", "ignoring SIGTTIN", ()),
    Internal(_SUPERVISOR, "handle_ttou", "ignoring SIGTTOU", ()),
    Internal(_SUPERVISOR, "terminate_all", "no longer listening once all processes shut down", ()),
    Internal(_SUPERVISOR, "join_all", "killing all processes on a second signal", ()),
)

# What uvicorn does, by the name of its contract test; and what relies on it.
BEHAVIOURS = {
    "an_answer_is_written_in_two_parts": "SingleWriteTransport joins the head and the body",
    "the_scope_exists_before_the_head_is_complete": "on_message_begin adds the disconnect and the flow control",
    "the_parser_reports_to_the_connection": "Connection feeds it, and refuses or reads on when it stops",
    "an_upgrade_without_websockets_is_answered": "Connection need only read its body",
    "pipelined_requests_wait_in_the_pipeline": "Connection limits and cancels them",
    "a_body_after_its_answer_is_ignored": "Connection itself ends the request and starts the idle timer",
    "idle_connections_close_after_the_configured_time": "keep_alive_seconds sets it, and shutdown closes them at once",
    "configured_headers_are_in_every_answer": "the Keep-Alive header, unless the connection closes",
    "the_loaded_app_is_the_application": "Connection and Server read its context",
    "a_tick_comes_ten_times_a_second": "Server checks clients every tenth tick (TICKS_PER_SECOND)",
    "a_signal_reaches_handle_exit": "Server shuts down gracefully and then exits with 0",
    "listening_sockets_outlive_their_servers": "Server hands duplicates of them to its own listeners",
    "shutdown_closes_and_awaits_the_servers": "Listener takes their place",
    "a_process_runs_its_server_and_answers_health_checks": "_Process replaces the server and the answers",
    "processes_are_created_by_their_module_name": "supervise puts _Process in the place of Process",
}
