# syntax=docker/dockerfile:1
# An image for studies, their workers on other machines, and MLflow's pages (docs/scale.md):
#
#   docker build -t dcgan-study .
#   docker build -t dcgan-study:cuda --build-arg TORCH=cuda .

ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# cpu: PyTorch's builds for CPUs. cuda: those on PyPI, for NVIDIA GPUs and CPUs, several GB larger.
ARG TORCH=cpu
# The extras of pyproject.toml that the image has.
ARG EXTRAS="dashboard gs heif postgres ray s3"

# MLflow asks for git, which is not here. Any user has a home and a name.
ENV PATH=/opt/venv/bin:$PATH \
    VIRTUAL_ENV=/opt/venv \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    HOME=/results \
    LOGNAME=study \
    DCGAN_CACHE=/results/cache \
    DCGAN_STUDY_STORE=/results/mlruns

RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir uv

# Layers from those that change least: torch, other dependencies, our code.
RUN case "$TORCH" in \
        cpu) backend="--index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) backend= ;; \
        *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 2 ;; \
    esac \
    && uv pip install --no-cache $backend torch torchvision

COPY pyproject.toml /src/
RUN extras=$(for extra in $EXTRAS; do printf -- '--extra %s ' "$extra"; done) \
    && uv pip install --no-cache -r /src/pyproject.toml $extras

COPY . /src/
RUN uv pip install --no-cache --no-deps /src \
    && mkdir --mode 777 /results

# Any other user works too: docker run --user "$(id -u):$(id -g)".
USER 1000:1000
WORKDIR /results
VOLUME /results
EXPOSE 5000
CMD ["study", "--help"]
