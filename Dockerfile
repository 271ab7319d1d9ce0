# The book and all that it computes, in a container:
#   docker build --tag posttrain .
#   docker run --rm --publish 8000:8000 posttrain    builds the book and shows it at http://localhost:8000
#   docker run --rm --publish 8888:8888 posttrain .venv/bin/jupyter lab --ip 0.0.0.0 --allow-root    the notebooks, to change
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /posttrain
COPY . .
RUN make .venv/.installed
EXPOSE 8000 8888
# Not `make serve`, which nobody outside the container would reach.
CMD ["sh", "-c", "make book && exec python3 -m http.server --directory book/_build/html 8000"]
