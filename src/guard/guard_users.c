/* guard_users: the snapshot of users, and whether a password is right.
 *
 * Clear passwords are not kept: what is kept is an HMAC of name and password under a key of this
 * process. A hash that was verified once gets the same HMAC as its memo. So a question is first one
 * HMAC and one comparison of 32 bytes, whoever asks for whom; only then, for hashed passwords,
 * crypt_r. An unknown name is measured against another user, always the same one for that name, so
 * neither the time nor the way of the answer tells who exists. */
#include "guard/guard_int.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int guard_refuse(const struct guard_message *message, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message->text, message->bytes, format, args);
    va_end(args);
    return code;
}

const char *guard_print(struct slice name, char out[GUARD_PRINT_MAX])
{
    size_t len = 0;
    bool cut = name.len > GUARD_PRINT_BYTES;
    for (size_t i = 0; i < name.len && i < GUARD_PRINT_BYTES && len < GUARD_PRINT_MAX - 8; i++) {
        uint8_t byte = name.bytes[i];
        if (byte > ' ' && byte < 0x7f && byte != '\\')
            out[len++] = (char)byte;
        else
            len += (size_t)snprintf(out + len, 5, "\\x%02x", byte);
        cut |= len >= GUARD_PRINT_MAX - 8 && i + 1 < name.len;
    }
    snprintf(out + len, GUARD_PRINT_MAX - len, "%s", cut ? "..." : "");
    return out;
}

/* ---- a snapshot ---- */

int guard_users_new(const struct env *env, bool own, struct guard_users **users)
{
    struct guard_users *made = calloc(1, sizeof *made);
    if (!made)
        return CE_NOMEM;
    atomic_init(&made->refs, 1);
    made->seed = env_random_u64(env);
    made->own = own;
    made->everybody.kind = GUARD_KIND_SASL;
    made->everybody.rights = GUARD_RIGHTS_ALL;
    *users = made;
    return 0;
}

struct guard_users *guard_users_ref(struct guard_users *users)
{
    atomic_fetch_add_explicit(&users->refs, 1, memory_order_relaxed);
    return users;
}

static void free_entry(struct guard_entry *entry)
{
    if (!entry)
        return;
    if (entry->hash)
        OPENSSL_cleanse(entry->hash, strlen(entry->hash));
    free(entry->hash);
    free((void *)entry->name.bytes);
    free(entry->prefix_text);
    free(entry->prefixes);
    OPENSSL_cleanse(entry, sizeof *entry);
    free(entry);
}

void guard_users_drop(struct guard_users **users)
{
    struct guard_users *old = *users;
    *users = NULL;
    if (!old || atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < GUARD_SLOTS; i++)
        free_entry(old->table[i]);
    free(old);
}

/* The place of a name: where it is, or where it would be. */
static struct guard_entry **find_place(struct guard_users *users, struct slice name, uint64_t slot)
{
    for (size_t at = slot % GUARD_SLOTS;; at = (at + 1) % GUARD_SLOTS) {
        struct guard_entry *entry = users->table[at];
        if (!entry || (entry->slot == slot && slice_eq(entry->name, name)))
            return &users->table[at];
    }
}

struct guard_entry *guard_users_find(struct guard_users *users, struct slice name)
{
    return *find_place(users, name, hash_64_seed(name, users->seed));
}

bool guard_entry_allows(const struct guard_entry *entry, struct slice key)
{
    if (key.len == 0 || entry->prefixes_count == 0)
        return true;
    for (size_t i = 0; i < entry->prefixes_count; i++)
        if (slice_starts(key, entry->prefixes[i]))
            return true;
    return false;
}

/* HMAC of name and text, so that equal passwords of two users differ. */
static int make_mac(const uint8_t key[GUARD_KEY_BYTES], struct slice name, struct slice text,
                    uint8_t mac[GUARD_MAC_BYTES])
{
    uint8_t said[1 + GUARD_NAME_MAX + GUARD_PASSWORD_MAX];
    MUST(name.len <= GUARD_NAME_MAX && text.len <= GUARD_PASSWORD_MAX);
    said[0] = (uint8_t)name.len;
    memcpy(said + 1, name.bytes, name.len);
    if (text.len)
        memcpy(said + 1 + name.len, text.bytes, text.len);
    size_t len = 1 + name.len + text.len;
    bool made = HMAC(EVP_sha256(), key, GUARD_KEY_BYTES, said, len, mac, NULL) != NULL;
    OPENSSL_cleanse(said, len);
    return made ? 0 : CE_NOMEM;
}

/* ---- building it ---- */

static bool has_byte(struct slice text, uint8_t byte)
{
    return text.len && memchr(text.bytes, byte, text.len);
}

static size_t len_until(struct slice text, uint8_t byte)
{
    const uint8_t *found = memchr(text.bytes, byte, text.len);
    return found ? (size_t)(found - text.bytes) : text.len;
}

static bool is_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.bytes[i] <= ' ' || name.bytes[i] == 0x7f || name.bytes[i] == ':')
            return false;
    return name.bytes[0] != '#';
}

static int check_name(struct guard_users *users, struct slice name, const char *where,
                      const struct guard_message *message)
{
    char shown[GUARD_PRINT_MAX];
    if (name.len == 0)
        return guard_refuse(message, CE_INVAL, "%sno user name", where);
    guard_print(name, shown);
    if (name.len > GUARD_NAME_MAX)
        return guard_refuse(message, CE_INVAL, "%suser name %s is longer than %d bytes", where,
                            shown, GUARD_NAME_MAX);
    if (!is_name(name))
        return guard_refuse(message, CE_INVAL,
                            "%suser name %s begins with '#', or has a space, a control character "
                            "or ':' in it",
                            where, shown);
    if (guard_users_find(users, name))
        return guard_refuse(message, CE_INVAL, "%suser %s is there twice", where, shown);
    if (users->count == GUARD_USERS_MAX)
        return guard_refuse(message, CE_INVAL, "%smore than %d users", where, GUARD_USERS_MAX);
    return 0;
}

/* A clear password may begin with '$'; only "$id$" and "$id," look like crypt(5). */
static bool looks_hashed(struct slice password)
{
    size_t at = 1;
    if (password.len == 0 || password.bytes[0] != '$')
        return false;
    while (at < password.len && ((password.bytes[at] >= 'a' && password.bytes[at] <= 'z') ||
                                 (password.bytes[at] >= '0' && password.bytes[at] <= '9')))
        at++;
    return at > 1 && at < password.len && (password.bytes[at] == '$' || password.bytes[at] == ',');
}

static int set_hash(struct guard_entry *entry, struct slice password, const char *where,
                    const struct guard_message *message)
{
    char shown[GUARD_PRINT_MAX];
    guard_print(entry->name, shown);
    entry->kind = GUARD_KIND_HASHED;
    entry->hash = strndup((const char *)password.bytes, password.len);
    if (!entry->hash)
        return CE_NOMEM;
    int kind = crypt_checksalt(entry->hash);
    if (kind == CRYPT_SALT_INVALID || kind == CRYPT_SALT_METHOD_DISABLED)
        return guard_refuse(message, CE_INVAL,
                            "%sthe hashed password of user %s is of no kind that crypt(5) knows",
                            where, shown);
    if (kind != CRYPT_SALT_OK)
        log_warn("guard", "%sthe hashed password of user %s is of an old kind: see crypt(5)", where,
                 shown);
    return 0;
}

static int set_password(struct guard_entry *entry, const uint8_t key[GUARD_KEY_BYTES],
                        struct slice password, const char *where,
                        const struct guard_message *message)
{
    char shown[GUARD_PRINT_MAX];
    guard_print(entry->name, shown);
    bool hashed = looks_hashed(password);
    if (hashed) /* what follows are other fields: no hash has a ':' */
        password.len = len_until(password, ':');
    if (password.len == 0)
        return guard_refuse(message, CE_INVAL, "%suser %s has an empty password", where, shown);
    if (password.len > GUARD_PASSWORD_MAX)
        return guard_refuse(message, CE_INVAL, "%sthe password of user %s is longer than %d bytes",
                            where, shown, GUARD_PASSWORD_MAX);
    if (make_mac(key, entry->name, password, entry->stamp))
        return CE_NOMEM;
    if (hashed)
        return set_hash(entry, password, where, message);
    entry->kind = GUARD_KIND_CLEAR;
    memcpy(entry->memo, entry->stamp, sizeof entry->memo);
    atomic_init(&entry->memo_set, true);
    return 0;
}

static int set_prefixes(struct guard_entry *entry, const char *text, const char *where,
                        const struct guard_message *message)
{
    char shown[GUARD_PRINT_MAX];
    guard_print(entry->name, shown);
    if (!text[strspn(text, " ")])
        return 0;
    entry->prefix_text = strdup(text);
    entry->prefixes = calloc(GUARD_PREFIXES_MAX, sizeof *entry->prefixes);
    if (!entry->prefix_text || !entry->prefixes)
        return CE_NOMEM;
    for (const char *at = entry->prefix_text; *(at += strspn(at, " "));) {
        size_t len = strcspn(at, " ");
        if (entry->prefixes_count == GUARD_PREFIXES_MAX)
            return guard_refuse(message, CE_INVAL, "%suser %s has more than %d key prefixes", where,
                                shown, GUARD_PREFIXES_MAX);
        if (len > GUARD_PREFIX_MAX)
            return guard_refuse(message, CE_INVAL,
                                "%suser %s has a key prefix that is longer than a key", where,
                                shown);
        entry->prefixes[entry->prefixes_count++] = slice_of(at, len);
        at += len;
    }
    return 0;
}

static int fill_entry(struct guard_entry *entry, const uint8_t key[GUARD_KEY_BYTES],
                      struct slice name, struct slice password, const struct guard_user *user,
                      const char *where, const struct guard_message *message)
{
    uint8_t *copy = malloc(name.len);
    if (!copy)
        return CE_NOMEM;
    memcpy(copy, name.bytes, name.len);
    entry->name = slice_of(copy, name.len);
    entry->rights = GUARD_RIGHTS_ALL;
    if (user) {
        MUST((user->rights & ~(unsigned)GUARD_RIGHTS_ALL) == 0);
        entry->rights = user->rights | GUARD_KNOWN;
        int rc = set_prefixes(entry, user->prefixes ? user->prefixes : "", where, message);
        if (rc)
            return rc;
    }
    if (!user || user->password)
        return set_password(entry, key, password, where, message);
    entry->kind = GUARD_KIND_SASL;
    return make_mac(key, entry->name, slice_of(NULL, 0), entry->stamp);
}

int guard_users_add(struct guard_users *users, const uint8_t key[GUARD_KEY_BYTES],
                    struct slice name, struct slice password, const struct guard_user *user,
                    const char *where, const struct guard_message *message)
{
    int rc = check_name(users, name, where, message);
    if (rc)
        return rc;
    struct guard_entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return CE_NOMEM;
    rc = fill_entry(entry, key, name, password, user, where, message);
    if (rc) {
        free_entry(entry);
        return rc;
    }
    entry->slot = hash_64_seed(name, users->seed);
    *find_place(users, name, entry->slot) = entry;
    users->count++;
    if (entry->kind == GUARD_KIND_SASL)
        users->by_sasl = true;
    else
        users->passwords[users->passwords_count++] = entry;
    return 0;
}

/* ---- is it right ---- */

static bool is_memo(struct guard_entry *entry, const uint8_t mac[GUARD_MAC_BYTES])
{
    return atomic_load_explicit(&entry->memo_set, memory_order_acquire) &&
           CRYPTO_memcmp(entry->memo, mac, GUARD_MAC_BYTES) == 0;
}

int guard_claim_make(struct guard_claim *claim, struct guard_users *users,
                     const uint8_t key[GUARD_KEY_BYTES], struct slice name, struct slice password)
{
    *claim = (struct guard_claim){0};
    if (name.len == 0 || name.len > GUARD_NAME_MAX || password.len == 0 ||
        password.len > GUARD_PASSWORD_MAX || has_byte(password, 0) || users->passwords_count == 0)
        return CE_AUTH_FAILED;
    uint64_t slot = hash_64_seed(name, users->seed);
    struct guard_entry *entry = *find_place(users, name, slot);
    claim->real = entry && entry->kind != GUARD_KIND_SASL;
    claim->entry = claim->real ? entry : users->passwords[slot % users->passwords_count];
    if (make_mac(key, name, password, claim->mac))
        return CE_NOMEM;
    if (is_memo(claim->entry, claim->mac) && claim->real)
        return 0;
    return claim->entry->kind == GUARD_KIND_HASHED ? GUARD_LATER : CE_AUTH_FAILED;
}

int guard_claim_verify(struct guard_claim *claim, const char *password, struct crypt_data *crypt)
{
    struct guard_entry *entry = claim->entry;
    MUST(entry->kind == GUARD_KIND_HASHED);
    const char *hash = crypt_r(password, entry->hash, crypt); /* too long: "*0", never equal */
    size_t len = strlen(entry->hash);
    bool right = hash && strlen(hash) == len && CRYPTO_memcmp(hash, entry->hash, len) == 0;
    OPENSSL_cleanse(crypt, sizeof *crypt);
    if (!right || !claim->real)
        return CE_AUTH_FAILED;
    if (!atomic_load_explicit(&entry->memo_set, memory_order_relaxed)) {
        memcpy(entry->memo, claim->mac, GUARD_MAC_BYTES);
        atomic_store_explicit(&entry->memo_set, true, memory_order_release);
    }
    return 0;
}
