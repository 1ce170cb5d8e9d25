/* err: the one table of operating errors. Each has its text (log) and its wire reply (text
 * protocol). CLIENT_ERROR = refused, nothing changed; SERVER_ERROR = outcome not guaranteed, safe
 * to retry with the same token (cart-protocol, section 1). Functions return 0 or a negative CE_*.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_TABLE(X)                                                                               \
    /* inside the daemon */                                                                        \
    X(NOMEM, "out of memory", "SERVER_ERROR NO_MEMORY out of memory")                              \
    X(INVAL, "invalid argument", "CLIENT_ERROR bad command line format")                           \
    X(IO, "input/output error", "SERVER_ERROR NO_DISK input/output error")                         \
    X(NODISK, "disk full or failed", "SERVER_ERROR NO_DISK cannot be made as safe as asked")       \
    X(NOACCESS, "not permitted, or no directory", "SERVER_ERROR NO_DISK not permitted")            \
    X(CORRUPT, "corrupt data", "SERVER_ERROR NO_DISK corrupt data")                                \
    X(NOTFOUND, "not found", "NOT_FOUND")                                                          \
    X(EXISTS, "differs", "EXISTS")                                                                 \
    X(BUSY, "busy", "SERVER_ERROR BUSY try again")                                                 \
    X(NOTSAFE, "not as safe as asked", "SERVER_ERROR NOT_SAFE acknowledgement level not reached")  \
    X(DB, "database error", "SERVER_ERROR BUSY database error")                                    \
    X(STOPPED, "shutting down", "SERVER_ERROR BUSY shutting down")                                 \
    /* the memcached protocol */                                                                   \
    X(UNKNOWN, "unknown command", "ERROR")                                                         \
    X(FORMAT, "bad command line", "CLIENT_ERROR bad command line format")                          \
    X(CHUNK, "bad data chunk", "CLIENT_ERROR bad data chunk")                                      \
    X(LINE_TOO_LONG, "line too long", "CLIENT_ERROR line too long")                                \
    X(TOO_LARGE, "value too large", "SERVER_ERROR object too large for cache")                     \
    X(NOT_STORED, "not stored", "NOT_STORED")                                                      \
    X(STORE_NOMEM, "no room", "SERVER_ERROR out of memory storing object")                         \
    X(DELTA, "bad delta", "CLIENT_ERROR invalid numeric delta argument")                           \
    X(NON_NUMERIC, "not a number", "CLIENT_ERROR cannot increment or decrement non-numeric value") \
    X(EXPTIME, "bad exptime", "CLIENT_ERROR invalid exptime argument")                             \
    X(AUTH, "not authenticated", "CLIENT_ERROR unauthenticated")                                   \
    X(AUTH_FAILED, "wrong user or password", "CLIENT_ERROR authentication failure")                \
    X(AUTH_FORMAT, "bad login", "CLIENT_ERROR bad authentication token format")                    \
    X(AUTH_CHUNK, "bad login block", "CLIENT_ERROR bad command line termination")                  \
    X(DENIED, "no right to do this", "CLIENT_ERROR DENIED no right to do this")                    \
    X(UDP_TOO_LARGE, "answer too large for UDP", "SERVER_ERROR answer too large for UDP")          \
    /* carts: codes of cart-protocol section 1 */                                                  \
    X(BAD_CART, "not a cart key", "CLIENT_ERROR BAD_CART not a cart key")                          \
    X(BAD_LINE, "bad line key", "CLIENT_ERROR BAD_LINE line key is 1..128 bytes without spaces")   \
    X(BAD_QTY, "bad number", "CLIENT_ERROR BAD_QTY not a number in range")                         \
    X(BAD_FLAG, "bad flag", "CLIENT_ERROR BAD_FLAG unknown or malformed flag")                     \
    X(BAD_DOC, "not a cart document", "CLIENT_ERROR BAD_DOC value is no cart document")            \
    X(LINE_LIMIT, "too many lines", "CLIENT_ERROR LINE_LIMIT too many lines in the cart")          \
    X(QTY_LIMIT, "quantity above limit", "CLIENT_ERROR QTY_LIMIT quantity above the limit")        \
    X(SIZE_LIMIT, "too large", "CLIENT_ERROR SIZE_LIMIT too large for the cart")                   \
    X(CURRENCY, "currency differs", "CLIENT_ERROR CURRENCY the cart has another currency")         \
    X(FROZEN, "cart is frozen", "CLIENT_ERROR FROZEN the cart is frozen")                          \
    X(MERGED, "cart was merged", "CLIENT_ERROR MERGED the cart was merged into another")           \
    X(TOKEN_REUSED, "token reused",                                                                \
      "CLIENT_ERROR TOKEN_REUSED the token was used with other arguments")                         \
    X(CART_VALUE, "not possible on a cart", "CLIENT_ERROR BAD_CART not possible on a cart key")

enum {
    CE_OK_ = 0,
#define X(name, text, wire) CE_NEG_##name,
    ERR_TABLE(X)
#undef X
};

enum {
#define X(name, text, wire) CE_##name = -CE_NEG_##name,
    ERR_TABLE(X)
#undef X
};

/* The text of a code for the log; "ok" for 0. Any thread, never NULL. */
const char *err_text(int code);

/* The reply line of a code, without CRLF. MUST be a negative CE_*. */
const char *err_wire(int code);

#endif
