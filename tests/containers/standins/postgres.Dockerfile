# Debian's PostgreSQL with as much of the interface of Docker's official image as docker-compose.yml uses.
FROM isophase-standin-base
RUN groupadd --system --gid 999 postgres && useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql postgres \
 && apt-get update && apt-get install --yes --no-install-recommends postgresql \
 && install --directory --owner postgres --group postgres --mode 1777 /var/lib/postgresql/data
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin
VOLUME /var/lib/postgresql/data
COPY postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
CMD ["postgres"]
