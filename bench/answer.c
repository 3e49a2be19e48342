/* The cheapest HTTP server there is: what a load program makes of it is that program's
 * own ceiling. It knows three answers, by the method, and takes each read for one
 * whole request.
 *
 *     answer PORT          serves on 127.0.0.1 until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EVENTS = 128, REQUEST_MAX = 65536 };

#define JOB "{\"uid\":\"0190b8a0-0000-7000-8000-000000000000\"}"
#define ANSWER(status, size, body)                                                     \
    "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nContent-Length: " size   \
    "\r\n\r\n" body

/* By the second letter of the method: PUT makes a job, GET takes one, POST reports. */
static const char *const ANSWERS[256] = {
    ['U'] = ANSWER("201 CREATED", "46", JOB),
    ['E'] = ANSWER("200 OK", "46", JOB),
    ['O'] = ANSWER("200 OK", "0", ""),
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listening(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (void *)&at, sizeof at) || listen(fd, 1024)) fail("listen");
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void welcome(int epoll, int listener) {
    int yes = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(epoll, fd);
}

static void answer(int fd) {
    static char request[REQUEST_MAX];
    ssize_t got = recv(fd, request, sizeof request, 0);
    const char *text = got > 1 ? ANSWERS[(unsigned char)request[1]] : NULL;
    if (!text || send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) close(fd);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    /* An orphan would hold a core. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 2) fail("answer PORT");
    int listener = listening(atoi(argv[1])), epoll = epoll_create1(0);
    watch(epoll, listener);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            int fd = events[n].data.fd;
            if (fd == listener) welcome(epoll, listener);
            else answer(fd);
        }
    }
}
