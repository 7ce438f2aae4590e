/* What a guest of the tests needs besides busybox: its sockets.
 *
 *   vs PORT PROGRAM ARGS...   runs a program with a connection to a port of the host as its standard streams
 *   vs -r PORT PORT           joins two connections; each direction ends by itself
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static int dial(const char *port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST };
	address.svm_port = strtoul(port, NULL, 10);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
		fprintf(stderr, "port %s: %s\n", port, strerror(errno));
		exit(2);
	}
	return fd;
}

/* Copies what is there; 0 at the end, when the end has been passed on. */
static int copy(int from, int to)
{
	static char buffer[65536];
	ssize_t count = read(from, buffer, sizeof buffer);
	if (count <= 0) {
		shutdown(to, SHUT_WR);
		return 0;
	}
	for (ssize_t at = 0; at < count;) {
		ssize_t written = write(to, buffer + at, count - at);
		if (written < 0)
			return 0;
		at += written;
	}
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "-r")) {
		struct pollfd ends[2] = { { .fd = dial(argv[2]), .events = POLLIN }, { .fd = dial(argv[3]), .events = POLLIN } };
		int fds[2] = { ends[0].fd, ends[1].fd };
		while (ends[0].fd >= 0 || ends[1].fd >= 0) {
			if (poll(ends, 2, -1) < 0)
				return 3;
			for (int i = 0; i < 2; i++)
				if (ends[i].fd >= 0 && ends[i].revents && !copy(fds[i], fds[1 - i]))
					ends[i].fd = -1;
		}
		return 0;
	}
	if (argc < 3)
		return 64;
	int fd = dial(argv[1]);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	close(fd);
	execv(argv[2], argv + 2);
	return 127;
}
