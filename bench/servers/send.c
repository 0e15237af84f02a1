// The floor of a fan-out: one thread that waits with epoll, and a loop of send(). It prints its port, then a line for
// each client that has its head. From standard input it takes pieces, each after its length on a line of its own, and
// sends every one to all clients.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CLIENTS 65536
#define LONGEST_PIECE 65536

static const char HEAD[] =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-store, no-transform\r\n"
  "X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

// The clients that have their head, without order, and where each of them is.
static int clients[MOST_CLIENTS];
static int place[MOST_CLIENTS];
static int client_count;
// How much of the empty line that ends its request a client has sent.
static unsigned char matched[MOST_CLIENTS];

static void check(int is_so, const char *what) {
  if (is_so) return;
  perror(what);
  exit(1);
}

static void send_all(int client, const char *piece, size_t length) {
  ssize_t sent = send(client, piece, length, MSG_NOSIGNAL);
  if (sent < 0 && (errno == ECONNRESET || errno == EPIPE)) return;
  check(sent == (ssize_t) length, "a client does not keep up");
}

static void watch(int epoll, int file) {
  struct epoll_event event = { .events = EPOLLIN, .data.fd = file };
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == 0, "epoll_ctl");
}

static void accept_all(int epoll, int server) {
  int client, on = 1;
  while ((client = accept4(server, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    check(client < MOST_CLIENTS, "too many clients");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    matched[client] = 0;
    place[client] = -1;
    watch(epoll, client);
  }
}

static void leave(int client) {
  if (place[client] >= 0) {
    int last = clients[--client_count];
    clients[place[client]] = last;
    place[last] = place[client];
  }
  close(client);
}

static void read_request(int client) {
  char buffer[4096];
  ssize_t length = read(client, buffer, sizeof buffer);
  if (length <= 0) {
    leave(client);
    return;
  }
  for (ssize_t i = 0; i < length && matched[client] < 4; i++) {
    if (buffer[i] == "\r\n\r\n"[matched[client]]) matched[client]++;
    else matched[client] = buffer[i] == '\r';
  }
  if (matched[client] < 4 || place[client] >= 0) return;
  send_all(client, HEAD, sizeof HEAD - 1);
  place[client] = client_count;
  clients[client_count++] = client;
  puts("joined");
}

static void read_pieces(void) {
  static char buffer[2 * LONGEST_PIECE];
  static size_t filled;
  ssize_t length = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled);
  if (length <= 0) exit(0);
  filled += length;
  for (;;) {
    char *line = memchr(buffer, '\n', filled);
    if (line == NULL) return;
    size_t piece = strtoul(buffer, NULL, 10);
    size_t whole = line + 1 - buffer + piece;
    check(piece <= LONGEST_PIECE, "too long a piece");
    if (filled < whole) return;
    for (int i = 0; i < client_count; i++) send_all(clients[i], line + 1, piece);
    memmove(buffer, buffer + whole, filled -= whole);
  }
}

int main(void) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t size = sizeof address;
  int epoll = epoll_create1(0);
  int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  check(epoll >= 0 && server >= 0, "socket");
  check(bind(server, (struct sockaddr *) &address, size) == 0, "bind");
  check(listen(server, 511) == 0, "listen");
  check(getsockname(server, (struct sockaddr *) &address, &size) == 0, "getsockname");
  watch(epoll, server);
  watch(epoll, STDIN_FILENO);
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("%d\n", ntohs(address.sin_port));

  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(epoll, events, 256, -1);
    check(count >= 0 || errno == EINTR, "epoll_wait");
    for (int i = 0; i < count; i++) {
      int file = events[i].data.fd;
      if (file == server) accept_all(epoll, server);
      else if (file == STDIN_FILENO) read_pieces();
      else read_request(file);
    }
  }
}
