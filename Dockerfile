# syntax=docker/dockerfile:1
# Segfill with all that nodes of a Ray cluster need. CPU as it stands; for GPUs:
#   docker build --build-arg BASE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 --build-arg EXTRAS=cluster,hf .
# What is pinned by tag only is best replaced by its digest where you build.
ARG BASE=ubuntu:24.04

FROM ${BASE} AS base
ENV DEBIAN_FRONTEND=noninteractive
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Ubuntu pins by release, and serves one version of a package only: pinned here, it could not be built next month.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG EXTRAS=cluster
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY conf conf
COPY jobs jobs
COPY pipeline pipeline
# Every package at the version of constraints.txt: other codecs write other bytes.
RUN python3 -m venv /opt/segfill \
    && /opt/segfill/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM base
# Ubuntu's own user has the id 1000; ours is another, and no root: a pod with runAsNonRoot needs a number.
RUN useradd --uid 10001 --create-home --shell /bin/bash segfill && mkdir -p /home/segfill/.ray \
    && chown segfill:segfill /home/segfill/.ray
COPY --from=build /opt/segfill /opt/segfill
ENV PATH=/opt/segfill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 10001
WORKDIR /home/segfill
CMD ["segfill", "--help"]
