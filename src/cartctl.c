/* cartctl: the operator's tool. Says one command to a running cartd over its ordinary port, prints
 * what comes back, and ends with a status that a script can use. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES_MAX     2048
#define PASSWORD_BYTES_MAX 512
#define ANSWER_S           30 /* a daemon that says nothing for so long is not there */
#define WAIT_ROUND_MS      50000
#define WAIT_S_DEFAULT     10
#define WAIT_S_MAX         86400

enum status {
    STATUS_OK = 0,
    STATUS_DIFFERS = 1, /* verify: there are differences; wait: the time is over */
    STATUS_USAGE = 2,
    STATUS_FAILED = 3, /* not reached, or refused */
};

struct ctl {
    const char *server, *user, *password_file;
    const char *rate, *timeout;
    bool repair;
    int fd;
    char in[LINE_BYTES_MAX];
    size_t in_bytes;
    char line[LINE_BYTES_MAX];
};

/* Letter, name, argument, what it says. */
#define OPTIONS(X)                                                                                 \
    X('s', "server", "PLACE", "HOST:PORT, HOST, or the path of a unix socket (127.0.0.1:11211)")   \
    X('u', "user", "NAME", "log in as this user; needs --password-file")                           \
    X('p', "password-file", "FILE", "its first line is the password")                              \
    X('r', "rate", "N", "of verify and resync: at most so many carts a second (1000)")             \
    X('t', "timeout", "SECONDS", "of wait: how long (10)")                                         \
    X('R', "repair", NULL, "of verify: what differs is merged, and written to all tiers")          \
    X('h', "help", NULL, "this text")

struct command {
    const char *name, *args, *what;
    int args_count;      /* exactly */
    const char *allowed; /* letters of its options, beside s, u, p */
    int (*run)(struct ctl *ctl, char **args);
};

/* ---- telling ---- */

static int fail(enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "cartctl: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    return status;
}

/* ---- the connection ---- */

static void set_patience(int fd)
{
    const struct timeval patience = {.tv_sec = ANSWER_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static int connect_unix(struct ctl *ctl)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(ctl->server) >= sizeof address.sun_path)
        return fail(STATUS_USAGE, "%s: the path is too long", ctl->server);
    memcpy(address.sun_path, ctl->server, strlen(ctl->server));
    ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ctl->fd < 0 || connect(ctl->fd, (struct sockaddr *)&address, sizeof address))
        return fail(STATUS_FAILED, "%s: %s", ctl->server, strerror(errno));
    return 0;
}

/* HOST, HOST:PORT, [V6]:PORT. */
static void split_place(char *place, const char **host, const char **port)
{
    char *colon = strrchr(place, ':');
    *host = place;
    *port = "11211";
    if (place[0] == '[' && strchr(place, ']')) {
        *host = place + 1;
        colon = strchr(place, ']');
        *colon++ = 0;
        if (*colon != ':')
            return;
    }
    if (!colon || (*host == place && strchr(place, ':') != colon)) /* none, or a bare V6 */
        return;
    *colon = 0;
    *port = colon + 1;
}

static int connect_any(struct ctl *ctl, const struct addrinfo *found)
{
    for (; found; found = found->ai_next) {
        ctl->fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
        if (ctl->fd < 0)
            continue;
        set_patience(ctl->fd);
        if (connect(ctl->fd, found->ai_addr, found->ai_addrlen) == 0)
            return 0;
        int error = errno;
        close(ctl->fd);
        ctl->fd = -1;
        errno = error;
    }
    return fail(STATUS_FAILED, "%s: %s", ctl->server, strerror(errno));
}

static int connect_tcp(struct ctl *ctl)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *host, *port;
    char *place = strdup(ctl->server);
    if (!place)
        return fail(STATUS_FAILED, "out of memory");
    split_place(place, &host, &port);
    int rc = getaddrinfo(host, port, &hints, &found);
    rc =
        rc ? fail(STATUS_FAILED, "%s: %s", ctl->server, gai_strerror(rc)) : connect_any(ctl, found);
    if (found)
        freeaddrinfo(found);
    free(place);
    return rc;
}

static int send_all(struct ctl *ctl, const char *bytes, size_t count)
{
    while (count) {
        ssize_t sent = send(ctl->fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return fail(STATUS_FAILED, "%s: %s", ctl->server, strerror(errno));
        bytes += sent;
        count -= (size_t)sent;
    }
    return 0;
}

static int receive(struct ctl *ctl)
{
    if (ctl->in_bytes == sizeof ctl->in)
        return fail(STATUS_FAILED, "%s: a line that is too long", ctl->server);
    ssize_t got = recv(ctl->fd, ctl->in + ctl->in_bytes, sizeof ctl->in - ctl->in_bytes, 0);
    if (got < 0 && errno == EINTR)
        return 0;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return fail(STATUS_FAILED, "%s: no answer for %d seconds", ctl->server, ANSWER_S);
    if (got <= 0)
        return fail(STATUS_FAILED, "%s: %s", ctl->server,
                    got ? strerror(errno) : "the connection was closed");
    ctl->in_bytes += (size_t)got;
    return 0;
}

/* The next line, without its end, in ctl->line. */
static int read_line(struct ctl *ctl)
{
    char *end;
    while (!(end = ctl->in_bytes ? memchr(ctl->in, '\n', ctl->in_bytes) : NULL)) {
        int rc = receive(ctl);
        if (rc)
            return rc;
    }
    size_t used = (size_t)(end - ctl->in) + 1, len = used - 1;
    while (len && ctl->in[len - 1] == '\r')
        len--;
    memcpy(ctl->line, ctl->in, len);
    ctl->line[len] = 0;
    ctl->in_bytes -= used;
    memmove(ctl->in, ctl->in + used, ctl->in_bytes);
    return 0;
}

static int ask(struct ctl *ctl, const char *format, ...)
{
    char text[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof text || memchr(text, '\n', (size_t)len) != text + len - 1)
        return fail(STATUS_USAGE, "an argument is too long, or holds the end of a line");
    return send_all(ctl, text, (size_t)len);
}

static bool line_begins(const struct ctl *ctl, const char *word)
{
    return strncmp(ctl->line, word, strlen(word)) == 0;
}

static int refused(const struct ctl *ctl)
{
    static const char *const parts[] = {"CLIENT_ERROR ", "SERVER_ERROR "};
    const char *line = ctl->line;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (line_begins(ctl, parts[i]))
            line += strlen(parts[i]);
    return fail(STATUS_FAILED, "%s", line);
}

/* ---- logging in ---- */

static int read_password(const struct ctl *ctl, char password[PASSWORD_BYTES_MAX])
{
    FILE *file = fopen(ctl->password_file, "re");
    if (!file)
        return fail(STATUS_FAILED, "%s: %s", ctl->password_file, strerror(errno));
    bool good = fgets(password, PASSWORD_BYTES_MAX, file) != NULL;
    fclose(file);
    if (!good)
        return fail(STATUS_FAILED, "%s: no password in it", ctl->password_file);
    password[strcspn(password, "\r\n")] = 0;
    return 0;
}

static int log_in(struct ctl *ctl)
{
    char password[PASSWORD_BYTES_MAX];
    if (!ctl->user)
        return 0;
    int rc = read_password(ctl, password);
    if (rc)
        return rc;
    size_t bytes = strlen(ctl->user) + 1 + strlen(password);
    char text[LINE_BYTES_MAX];
    int len =
        snprintf(text, sizeof text, "set auth 0 0 %zu\r\n%s %s\r\n", bytes, ctl->user, password);
    rc = len < 0 || (size_t)len >= sizeof text ? fail(STATUS_USAGE, "the name is too long")
                                               : send_all(ctl, text, (size_t)len);
    explicit_bzero(password, sizeof password);
    explicit_bzero(text, sizeof text);
    if (rc == 0)
        rc = read_line(ctl);
    if (rc == 0 && !line_begins(ctl, "STORED"))
        rc = refused(ctl);
    return rc;
}

static int reach(struct ctl *ctl)
{
    int rc = ctl->server[0] == '/' || ctl->server[0] == '.' ? connect_unix(ctl) : connect_tcp(ctl);
    if (rc)
        return rc;
    set_patience(ctl->fd);
    return log_in(ctl);
}

/* ---- commands ---- */

static bool read_number(const char *text, unsigned long long max, unsigned long long *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *number <= max;
}

/* Prints the rows of a list up to END. `*differences`: the number in the row of that name. */
static int print_rows(struct ctl *ctl, unsigned long long *differences)
{
    int rc;
    *differences = 0;
    while ((rc = read_line(ctl)) == 0 && strcmp(ctl->line, "END") != 0) {
        if (line_begins(ctl, "STAT differences "))
            *differences = strtoull(ctl->line + strlen("STAT differences "), NULL, 10);
        if (line_begins(ctl, "STAT ") || line_begins(ctl, "DIFF "))
            printf("%s\n", ctl->line + strlen("STAT "));
        else if (!line_begins(ctl, "INFO "))
            return refused(ctl);
    }
    return rc;
}

static int run_resync(struct ctl *ctl, char **args)
{
    unsigned long long ignored;
    (void)args;
    int rc = ask(ctl, "tiers resync %s\r\n", ctl->rate ? ctl->rate : "");
    return rc ? rc : print_rows(ctl, &ignored);
}

static int run_verify(struct ctl *ctl, char **args)
{
    unsigned long long differences;
    (void)args;
    int rc =
        ask(ctl, "tiers verify %s %s\r\n", ctl->repair ? "repair" : "", ctl->rate ? ctl->rate : "");
    if (rc == 0)
        rc = print_rows(ctl, &differences);
    return rc || !differences ? rc : STATUS_DIFFERS;
}

static int run_snapshot(struct ctl *ctl, char **args)
{
    unsigned long long ignored;
    int rc = ask(ctl, "tiers snapshot %s\r\n", args[0]);
    return rc ? rc : print_rows(ctl, &ignored);
}

static int run_stats(struct ctl *ctl, char **args)
{
    unsigned long long ignored;
    int rc = ask(ctl, "stats %s\r\n", args[0] ? args[0] : "");
    return rc ? rc : print_rows(ctl, &ignored);
}

/* A daemon lets nobody wait for ever: asks again and again. */
static int run_wait(struct ctl *ctl, char **args)
{
    unsigned long long version, seconds = WAIT_S_DEFAULT;
    if (!read_number(args[1], ~0ULL, &version))
        return fail(STATUS_USAGE, "%s is no version", args[1]);
    if (ctl->timeout && !read_number(ctl->timeout, WAIT_S_MAX, &seconds))
        return fail(STATUS_USAGE, "--timeout is 0 to %d seconds", WAIT_S_MAX);
    const struct timeval patience = {.tv_sec = WAIT_ROUND_MS / 1000 + ANSWER_S};
    setsockopt(ctl->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    unsigned long long left_ms = seconds * 1000;
    do {
        unsigned long long ms = left_ms < WAIT_ROUND_MS ? left_ms : WAIT_ROUND_MS;
        int rc = ask(ctl, "cwait %s %llu %llu\r\n", args[0], version, ms);
        if (rc == 0)
            rc = read_line(ctl);
        if (rc)
            return rc;
        if (line_begins(ctl, "HD ")) {
            printf("%s\n", ctl->line + strlen("HD v"));
            return STATUS_OK;
        }
        if (!line_begins(ctl, "NS "))
            return refused(ctl);
        left_ms -= ms;
    } while (left_ms);
    return fail(STATUS_DIFFERS, "%s: SQL has version %s after %llu seconds", args[0],
                ctl->line + strlen("NS v"), seconds);
}

static const struct command commands[] = {
    {"verify", "", "do memory, journal, L2 and the database agree? Prints what differs", 0, "rR",
     run_verify},
    {"snapshot", "DIR", "a copy of its data directory, in an absolute path on its machine", 1, "",
     run_snapshot},
    {"resync", "", "writes all carts to the database again, also rows that somebody deleted", 0,
     "r", run_resync},
    {"wait", "KEY VERSION", "until the database has this version of a cart, or a later one", 2, "t",
     run_wait},
    {"stats", "[GROUP]", "prints the daemon's figures", -1, "", run_stats},
};

/* ---- the command line ---- */

static void print_help(void)
{
    static const struct {
        char letter;
        const char *name, *arg, *what;
    } options[] = {
#define X(letter, name, arg, what) {letter, name, arg, what},
        OPTIONS(X)
#undef X
    };
    printf("cartctl " PACKAGE_VERSION ": manages a running cartd\n\n"
           "usage: cartctl [option...] COMMAND [argument...]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-8s %-13s %s\n", commands[i].name, commands[i].args, commands[i].what);
    printf("\n");
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        printf("  -%c, --%-14s %-8s %s\n", options[i].letter, options[i].name,
               options[i].arg ? options[i].arg : "", options[i].what);
    printf(
        "\nWith users it needs one with the right admin (wait: read). Status: 0 done; 1 there are "
        "differences,\nor the time is over; 2 used wrongly; 3 not reached, or refused.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void take_option(struct ctl *ctl, int letter)
{
    switch (letter) {
    case 's': ctl->server = optarg; break;
    case 'u': ctl->user = optarg; break;
    case 'p': ctl->password_file = optarg; break;
    case 'r': ctl->rate = optarg; break;
    case 't': ctl->timeout = optarg; break;
    default: ctl->repair = true;
    }
}

/* -1: go on. `given` gets the letters of the options that belong to some commands only. */
static int read_options(struct ctl *ctl, int argc, char **argv, char given[8])
{
    static const struct option options[] = {
#define X(letter, name, arg, what) {name, (arg) != NULL, NULL, letter},
        OPTIONS(X)
#undef X
            {0}};
    size_t count = 0;
    int letter;
    while ((letter = getopt_long(argc, argv, "s:u:p:r:t:Rh", options, NULL)) != -1) {
        if (letter == '?')
            return STATUS_USAGE;
        if (letter == 'h') {
            print_help();
            return STATUS_OK;
        }
        take_option(ctl, letter);
        if (strchr("rtR", letter) && !memchr(given, letter, count))
            given[count++] = (char)letter;
    }
    return -1;
}

static int check_use(const struct ctl *ctl, const struct command *command, int args_count,
                     const char *given)
{
    bool fits = command->args_count < 0 ? args_count <= 1 : args_count == command->args_count;
    if (!fits)
        return fail(STATUS_USAGE, "usage: cartctl [option...] %s %s", command->name, command->args);
    for (; *given; given++)
        if (!strchr(command->allowed, *given))
            return fail(STATUS_USAGE, "%s does not take the option -%c", command->name, *given);
    if (!ctl->user != !ctl->password_file)
        return fail(STATUS_USAGE, "--user and --password-file belong together");
    return 0;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.server = "127.0.0.1:11211", .fd = -1};
    char given[8] = "";
    signal(SIGPIPE, SIG_IGN);
    int status = read_options(&ctl, argc, argv, given);
    if (status >= 0)
        return status;
    if (optind == argc)
        return fail(STATUS_USAGE, "no command; cartctl --help tells which there are");
    const struct command *command = find_command(argv[optind]);
    if (!command)
        return fail(STATUS_USAGE, "no command \"%s\"; cartctl --help tells which there are",
                    argv[optind]);
    status = check_use(&ctl, command, argc - optind - 1, given);
    if (status == 0)
        status = reach(&ctl);
    if (status == 0)
        status = command->run(&ctl, argv + optind + 1);
    if (ctl.fd >= 0)
        close(ctl.fd);
    if (fflush(stdout) || ferror(stdout))
        return fail(STATUS_FAILED, "writing the output: %s", strerror(errno));
    return status;
}
