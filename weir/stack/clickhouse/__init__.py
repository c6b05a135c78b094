"""ClickHouse's engine (chDB) in one process of ours, behind ClickHouse's HTTP interface.

``python -m weir.stack.clickhouse --path DIR --port N`` serves one data directory. The modules, in the way of a request:

``request``      what was asked: query, settings, parameters, credentials, from URL, headers and form
``multipart``    forms, which carry external tables
``compression``  Content-Encoding in, Accept-Encoding out
``statement``    where a statement ends and the data of its INSERT begins, which FORMAT it names
``session``      what a ``session_id`` keeps between requests
``engine``       connections to the engine, and what a connection must be told before a statement runs
``query``        the execution of one request on one connection
``formats``      how the streamed blocks of a format become one document
``answer``       headers, body and errors of the answer
``exchange``     bytes between the event loop and the thread that holds the connection
``server``       the ASGI application
``configuration``  the engine's caches and storage policy
``exceptions``   ClickHouse's error codes, their HTTP statuses and their text

Known differences from a server: one user (``default``, no password); ``KILL QUERY`` does not know the ``query_id`` of
the URL; a client that goes away stops a streamed SELECT at its next block and nothing else; ``compress=1``,
``decompress=1`` and ``client_protocol_version`` (ClickHouse's own block framing) are not spoken, so that Native
answers name ``DateTime('UTC')`` columns ``DateTime``: the process therefore runs in UTC.
"""
