/* stream: TLS below a connection. OpenSSL reads and writes the socket itself, never blocks, and
 * says what it waits for; a read may wait for room to write and the other way round. */
#include "net/net_int.h"

#include <openssl/err.h>

/* Why an operation did not go on. `wants_other`: it waits for the other direction. */
static int judge(struct stream *stream, bool writes, bool *wants_other)
{
    int error = SSL_get_error(stream->ssl, 0);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        *wants_other = (error == SSL_ERROR_WANT_READ) == writes;
        return STREAM_AGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN && !writes)
        return STREAM_END;
    stream->broken = true;
    return STREAM_BROKEN;
}

ssize_t stream_read_tls(struct stream *stream, void *bytes, size_t room)
{
    size_t len = 0;
    int rc = 0;
    stream->read_wants_write = stream->more = false;
    while (len < room) {
        size_t got = 0;
        ERR_clear_error(); /* SSL_get_error looks into this thread's queue */
        if (!SSL_read_ex(stream->ssl, (uint8_t *)bytes + len, room - len, &got)) {
            rc = judge(stream, false, &stream->read_wants_write);
            break;
        }
        len += got;
        if (!SSL_has_pending(stream->ssl))
            return (ssize_t)len;
    }
    if (len == 0)
        return rc;
    /* What OpenSSL has already taken from the socket, or an end, makes no event any more. */
    stream->more = rc != STREAM_AGAIN;
    return (ssize_t)len;
}

ssize_t stream_write_tls(struct stream *stream, const void *bytes, size_t len)
{
    size_t sent = 0;
    stream->write_wants_read = false;
    ERR_clear_error();
    if (SSL_write_ex(stream->ssl, bytes, len, &sent))
        return (ssize_t)sent;
    return judge(stream, true, &stream->write_wants_read);
}

int stream_handshake(struct stream *stream)
{
    stream->read_wants_write = false;
    ERR_clear_error();
    int done = SSL_do_handshake(stream->ssl);
    if (done == 1) {
        stream->handshaking = false;
        return 0;
    }
    int rc = judge(stream, false, &stream->read_wants_write);
    return rc == STREAM_END ? STREAM_BROKEN : rc;
}

int stream_end(struct stream *stream)
{
    if (!stream->ssl || stream->broken || stream->handshaking)
        return 0;
    if (SSL_get_shutdown(stream->ssl) & SSL_SENT_SHUTDOWN)
        return 0;
    ERR_clear_error();
    if (SSL_shutdown(stream->ssl) >= 0)
        return 0;
    return judge(stream, true, &stream->write_wants_read) == STREAM_AGAIN ? STREAM_AGAIN : 0;
}

void stream_close(struct stream *stream)
{
    if (stream->ssl) {
        (void)stream_end(stream); /* as far as it goes; most have said it before */
        SSL_free(stream->ssl);
        ERR_clear_error();
        stream->ssl = NULL;
    }
    close(stream->fd);
}
