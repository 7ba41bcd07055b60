# syntax=docker/dockerfile:1
# Builds all images: `--build-arg SERVICE=auth-service` selects the service, and the target `lab` builds all services with the lab.

FROM python:3.13-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/venv/bin:$PATH

FROM base AS build
ARG LOCK=run.txt
RUN python -m venv /venv
COPY requirements/${LOCK} /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: --disable-pip-version-check -q -r /requirements.txt \
 && rm -rf /venv/lib/python*/site-packages/pip /venv/lib/python*/site-packages/pip-* /venv/bin/pip* \
 && find /venv -name tests -type d -path '*site-packages*' -prune -exec rm -rf {} + \
 && python -m compileall -q /venv

FROM base AS runtime
RUN useradd --system --no-create-home --uid 10001 rolecall
WORKDIR /app
ENV PYTHONPATH=/app
USER rolecall

FROM runtime AS production
ARG SERVICE
LABEL org.opencontainers.image.title="Rolecall ${SERVICE}" org.opencontainers.image.licenses="MIT"
COPY --from=build /venv /venv
COPY shared/rolecall /app/rolecall
COPY ${SERVICE} /app
ENV PORT=8000 ROLECALL_WSGI=rolecall_${SERVICE%%-*}.wsgi:app()
CMD ["sh", "-c", "flask --app \"$ROLECALL_WSGI\" check && exec gunicorn -c python:rolecall.gunicorn_conf -b \"0.0.0.0:$PORT\" \"$ROLECALL_WSGI\""]

FROM runtime AS lab
LABEL org.opencontainers.image.title="Rolecall lab" org.opencontainers.image.licenses="MIT"
COPY --from=build /venv /venv
COPY shared/rolecall /app/rolecall
COPY auth-service resource-service client-webapp lab /app/
CMD ["sh", "-c", "flask --app \"$ROLECALL_WSGI\" check && exec gunicorn -c python:rolecall_lab.gunicorn_conf -b \"0.0.0.0:$PORT\" \"$ROLECALL_WSGI\""]
