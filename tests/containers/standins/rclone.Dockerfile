# The program of rclone's image, from the package index, and what its busybox has.
FROM isophase-standin-base
RUN apt-get update && apt-get install --yes --no-install-recommends netcat-openbsd
COPY rclone /usr/local/bin/rclone
ENTRYPOINT ["rclone"]
