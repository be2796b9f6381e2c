# Learner and tabletop suite. On a CPU, and on NVIDIA GPUs with CUDA 13:
#
#   docker build -t rpd_jax .
#   docker build -t rpd_jax --build-arg EXTRAS='[gpu]' .
#   docker run --rm -v "$PWD/runs:/data/runs" rpd_jax train --preset=quickstart       # with --gpus=all on a GPU
#
# JAX brings CUDA's libraries along: the host needs a driver only.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG EXTRAS=""
COPY . /src
RUN pip install --no-cache-dir "/src${EXTRAS}" && rm -rf /src

RUN useradd --create-home --uid 1000 robot && install -d -o robot /data /data/runs
USER robot
WORKDIR /data
ENTRYPOINT ["rpd-jax"]
CMD ["--help"]
