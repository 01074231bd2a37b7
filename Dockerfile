# Segue on a CPU: models over HTTP with the page, or any other command. Needs Debian and PyPI, nothing else.
#
#   docker build -t segue .
#   docker run --rm -p 127.0.0.1:8000:8000 -e SEGUE_TOKEN=a-long-word-of-yours segue
#   docker run --rm -v "$PWD:/work" segue segment chest.png --note "Two infected areas, both lungs."
#
# PyPI's torch for x86-64 brings NVIDIA's libraries along, gigabytes that a CPU doesn't use. Without them:
#   docker build -t segue --build-arg INDEX=THE-INDEX-OF-CPU-BUILDS-ON-PYTORCHS-INSTALL-PAGE .

FROM debian:bookworm-slim AS build
ARG INDEX=
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
WORKDIR /build
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY src src
RUN python3 -m venv /opt/segue
RUN /opt/segue/bin/pip install --no-cache-dir ${INDEX:+--index-url $INDEX} torch==2.13.0
RUN /opt/segue/bin/pip install --no-cache-dir -c constraints.txt ".[medical,offline,report,samples,serve]"

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 segue && install -d -o segue /work
COPY --from=build /opt/segue /opt/segue
ENV PATH=/opt/segue/bin:$PATH HF_HUB_OFFLINE=1
USER segue
WORKDIR /work
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["segue"]
CMD ["serve", "--host", "0.0.0.0"]
