# The daemon, without root. Not built by CI: see docs/operations.md, "In a container".
FROM python:3.13-slim AS build
COPY . /src
RUN python -m venv /opt/jobengine \
    && /opt/jobengine/bin/pip install --no-cache-dir /src

FROM python:3.13-slim
RUN useradd --uid 10001 --user-group --no-create-home jobengine \
    && install --directory --owner jobengine --group jobengine --mode 0700 /jobengine
COPY --from=build /opt/jobengine /opt/jobengine
# Nothing in a container comes from loopback. So X-Name is believed from whoever reaches
# the port: let nobody reach it who may not be every service.
ENV PATH=/opt/jobengine/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    AUTH_MODE=names
USER 10001:10001
WORKDIR /jobengine
VOLUME /jobengine
EXPOSE 6010
ENTRYPOINT ["jobengine"]
CMD ["serve"]
