# One image for every process of ours, and the object store of the profile `s3`. Digests are those of the image index.
FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/isophase && python -m venv /opt/build
# what isophase needs, JAX among it, by its hashes; and what builds it, which stays in this stage
COPY constraints.txt ./
COPY constraints/build.txt constraints/build.txt
RUN /opt/isophase/bin/python -m pip install --no-deps --require-hashes --requirement constraints.txt \
 && /opt/build/bin/python -m pip install --no-deps --require-hashes --requirement constraints/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY kernels kernels
COPY analysis analysis
COPY sweeps sweeps
COPY flows flows
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/isophase/bin/python -m pip install --no-deps --no-index /wheels/*.whl \
 && /opt/isophase/bin/python -m pip uninstall --quiet --yes setuptools pip

FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3 AS isophase
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/isophase/bin:$PATH
# what services may write; a new volume takes its owner from the folder that it covers
RUN useradd --uid 1000 --create-home isophase \
 && install --directory --owner isophase /certs /results /home/isophase/.cache \
 && install --directory --owner isophase --mode 0700 /certs/authority
COPY --from=build /opt/isophase /opt/isophase
COPY deployments/container /opt/container
USER 1000:1000
WORKDIR /results
ENTRYPOINT ["/opt/container/entrypoint"]
CMD ["isophase", "--help"]

FROM rclone/rclone:1.75.2@sha256:2687085f718d3c628f7fdfb77c52a1d344332aed543110bb88088f2c70d43eb5 AS s3
RUN install -d -o 1000 -g 1000 /objects
USER 1000:1000
