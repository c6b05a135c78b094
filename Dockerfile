# The image of every Weir process: `weir worker`, `weir migrate` and the administration commands.
# It holds no embedded servers (their extra is not installed): in production those are containers of their own.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python -m venv /opt/weir
# requirements-runtime.lock is the part of requirements.lock that running needs; dependencies change seldom, code often
COPY requirements-runtime.lock ./
RUN /opt/weir/bin/python -m pip install --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY connectors connectors
COPY sinks sinks
COPY streams streams
COPY bench bench
COPY weir weir
RUN /opt/weir/bin/python -m pip install --no-deps --no-build-isolation . \
 && /opt/weir/bin/python -m pip check \
 && /opt/weir/bin/python -m compileall -q /opt/weir/lib

FROM python:3.13-slim-trixie
# a volume takes over the owner of the folder that it covers
RUN useradd --system --uid 10001 --home-dir /var/lib/weir --create-home weir \
 && install --directory --owner=weir --mode=0700 /var/spool/weir
COPY --from=build /opt/weir /opt/weir
ENV PATH=/opt/weir/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    POLARS_MAX_THREADS=1 \
    WEIR_WORKER__DATA_DIR=/var/lib/weir/worker
USER weir
WORKDIR /var/lib/weir
STOPSIGNAL SIGTERM
ENTRYPOINT ["weir"]
CMD ["worker"]
