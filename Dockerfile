# One image for every process of ours, and the object store of the profile `s3`.
FROM python:3.11.14-slim-bookworm AS isophase
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# what the deployed flows may write; a new volume takes its owner from the folder that it covers
RUN useradd --uid 1000 --create-home isophase && install --directory --owner isophase /certs /results
WORKDIR /opt/isophase
# the code, and the hashes of all that it needs; JAX among it, which the kind `flipflop` trains with
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY src src
COPY kernels kernels
COPY analysis analysis
COPY sweeps sweeps
COPY flows flows
RUN python -m pip install --no-deps --require-hashes --requirement constraints.txt --requirement constraints/build.txt \
 && python -m pip install --no-deps --no-build-isolation .
USER isophase
WORKDIR /results
CMD ["isophase", "--help"]

FROM rclone/rclone:1.75.2 AS s3
RUN install -d -o 1000 -g 1000 /objects
USER 1000:1000
