/* tls: the files and rules of TLS, as one SSL_CTX. Connections keep the one they began with, so a
 * new one can take its place at any time. */
#include "net/net_int.h"

#include <openssl/err.h>
#include <stdio.h>

#define SESSION_CONTEXT "cartd"

/* Without this OpenSSL would ask for the passphrase of a key on the terminal. */
static int refuse_passphrase(char *room, int bytes, int writes, void *arg)
{
    (void)room, (void)bytes, (void)writes, (void)arg;
    return -1;
}

/* Says what failed and why. CE_INVAL. */
static int fail(char *message, size_t message_bytes, const char *what, const char *path)
{
    unsigned long error = ERR_peek_error(); /* the first is the cause, the others follow from it */
    const char *why = error == 0                ? "unknown error"
                      : ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error))
                                                : ERR_reason_error_string(error);
    snprintf(message, message_bytes, "TLS: %s %s: %s", what, path, why ? why : "unknown error");
    ERR_clear_error();
    return CE_INVAL;
}

static int load_pair(const struct net_tls_config *config, SSL_CTX *ctx, char *message,
                     size_t message_bytes)
{
    if (!config->key_path) {
        snprintf(message, message_bytes, "TLS: certificate %s has no key", config->cert_path);
        return CE_INVAL;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, config->cert_path) != 1)
        return fail(message, message_bytes, "cannot use certificate", config->cert_path);
    if (SSL_CTX_use_PrivateKey_file(ctx, config->key_path, SSL_FILETYPE_PEM) != 1)
        return fail(message, message_bytes, "cannot use key", config->key_path);
    return 0;
}

static int load_verify(const struct net_tls_config *config, SSL_CTX *ctx, char *message,
                       size_t message_bytes)
{
    static const int modes[] = {
        [NET_TLS_VERIFY_NONE] = SSL_VERIFY_NONE,
        [NET_TLS_VERIFY_REQUEST] = SSL_VERIFY_PEER,
        [NET_TLS_VERIFY_REQUIRE] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    SSL_CTX_set_verify(ctx, modes[config->verify], NULL);
    if (!config->ca_path) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1)
            return fail(message, message_bytes, "cannot use", "the system's CA certificates");
        return 0;
    }
    if (SSL_CTX_load_verify_file(ctx, config->ca_path) != 1)
        return fail(message, message_bytes, "cannot use CA certificate", config->ca_path);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(config->ca_path);
    if (!names)
        return fail(message, message_bytes, "cannot use CA certificate", config->ca_path);
    SSL_CTX_set_client_CA_list(ctx, names);
    return 0;
}

static int set_up(const struct net_tls_config *config, SSL_CTX *ctx, char *message,
                  size_t message_bytes)
{
    SSL_CTX_set_default_passwd_cb(ctx, refuse_passphrase);
    /* A client that closes without a word ends its input, as without TLS: each request carries its
     * own length, so a cut is seen. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    /* Sessions live in tickets at the client, none here. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const uint8_t *)SESSION_CONTEXT,
                                   sizeof SESSION_CONTEXT - 1);
    int version = config->version_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (SSL_CTX_set_min_proto_version(ctx, version) != 1)
        return fail(message, message_bytes, "cannot set", "the lowest version");
    if (config->ciphers && SSL_CTX_set_cipher_list(ctx, config->ciphers) != 1)
        return fail(message, message_bytes, "cannot use ciphers", config->ciphers);
    int rc = load_pair(config, ctx, message, message_bytes);
    return rc ? rc : load_verify(config, ctx, message, message_bytes);
}

int tls_load(const struct net_tls_config *config, SSL_CTX **out, char *message,
             size_t message_bytes)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        snprintf(message, message_bytes, "TLS: out of memory");
        return CE_NOMEM;
    }
    int rc = set_up(config, ctx, message, message_bytes);
    if (rc) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}
