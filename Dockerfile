# Learner and tabletop suite. On a CPU, and on NVIDIA GPUs whose driver is of CUDA 13 (cuda12: of CUDA 12):
#
#   docker build -t rpd_jax .
#   docker build -t rpd_jax --build-arg EXTRAS='[cuda13]' .
#   mkdir -p runs    # docker would make it root's
#   docker run --rm --user "$(id -u)" -v "$PWD/runs:/data/runs" rpd_jax train --preset=quickstart    # GPU: --gpus=all
#
# JAX brings CUDA's libraries along: the host needs a driver only.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG EXTRAS=""
COPY . /src
RUN pip install --no-cache-dir "/src${EXTRAS}" && rm -rf /src

# Whoever --user names may write here, and has a home.
RUN useradd --uid 1000 robot && install -d -m 1777 /data /data/runs
USER robot
ENV HOME=/data
WORKDIR /data
ENTRYPOINT ["rpd-jax"]
CMD ["--help"]
