/* conf_file: the config file. inih reads the lines; here they get their meaning. */
#include "conf/conf_int.h"

#include <ini.h>
#include <stdlib.h>

struct reading {
    struct conf *conf;
    char problem[CONF_MESSAGE_BYTES];
};

static int refuse(struct reading *reading, const char *name, const char *problem)
{
    if (!reading->problem[0])
        snprintf(reading->problem, sizeof reading->problem, "%s %s", name, problem);
    return 0;
}

/* ---- [cartd] ---- */

static int set_option(struct reading *reading, const char *name, const char *value)
{
    const struct option_row *row = conf_row_of_name(slice_str(name));
    if (!row || row->letter == OPTION_CONFIG)
        return refuse(reading, name, "is no option of a file");
    const char *text = conf_keep(reading->conf, slice_str(value));
    if (!text || !conf_set(reading->conf, row, text))
        return refuse(reading, name, "has a bad value");
    return 1;
}

/* ---- [user NAME] ---- */

static struct conf_user *find_user(struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->users_count; i++)
        if (strcmp(conf->users[i].name, name) == 0)
            return &conf->users[i];
    struct conf_user *users = realloc(conf->users, (conf->users_count + 1) * sizeof *users);
    if (!users || conf->users_count == CONF_USERS_MAX)
        return NULL;
    conf->users = users;
    const char *copy = conf_keep(conf, slice_str(name));
    if (!copy)
        return NULL;
    users[conf->users_count] =
        (struct conf_user){.name = copy, .rights = CONF_READ | CONF_WRITE | CONF_ADMIN};
    return &users[conf->users_count++];
}

static bool read_rights(const char *text, unsigned *rights)
{
    static const struct {
        const char *name;
        unsigned right;
    } rows[] = {{"read", CONF_READ},
                {"write", CONF_WRITE},
                {"admin", CONF_ADMIN},
                {"all", CONF_READ | CONF_WRITE | CONF_ADMIN},
                {"none", 0}};
    *rights = 0;
    while (*text) {
        size_t len = strcspn(text, " ,\t"), i = 0;
        while (i < sizeof rows / sizeof rows[0] &&
               !slice_eq(slice_str(rows[i].name), slice_of((const uint8_t *)text, len)))
            i++;
        if (len && i == sizeof rows / sizeof rows[0])
            return false;
        if (len)
            *rights |= rows[i].right;
        text += len + (text[len] != 0);
    }
    return true;
}

static int set_user(struct reading *reading, const char *user_name, const char *name,
                    const char *value)
{
    struct conf_user *user = find_user(reading->conf, user_name);
    char *text = conf_keep(reading->conf, slice_str(value));
    if (!user || !text)
        return refuse(reading, user_name, "is one user too many");
    if (strcmp(name, "password") == 0 && *text)
        user->password = text;
    else if (strcmp(name, "rights") == 0 && read_rights(text, &user->rights))
        return 1;
    else if (strcmp(name, "prefixes") == 0) {
        for (char *at = text; *at; at++)
            if (*at == ',' || *at == '\t')
                *at = ' ';
        user->prefixes = text;
    } else
        return refuse(reading, name, "is no setting of a user, or has a bad value");
    return 1;
}

/* ---- [bucket NAME] ---- */

static int set_bucket(struct reading *reading, const char *bucket, const char *name,
                      const char *value)
{
    const char *problem;
    return conf_bucket_set(reading->conf, bucket, name, value, &problem)
               ? 1
               : refuse(reading, name, problem);
}

/* ---- the file ---- */

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    static const char user[] = "user ", bucket[] = "bucket ";
    struct reading *reading = arg;
    if (!section[0] || strcmp(section, "cartd") == 0)
        return set_option(reading, name, value);
    if (strncmp(section, user, sizeof user - 1) == 0 && section[sizeof user - 1])
        return set_user(reading, section + sizeof user - 1, name, value);
    if (strncmp(section, bucket, sizeof bucket - 1) == 0)
        return set_bucket(reading, section + sizeof bucket - 1, name, value);
    return refuse(reading, section, "is no section");
}

static int parse_text(struct conf *conf, const char *text)
{
    struct reading reading = {.conf = conf};
    int line = ini_parse_string(text, on_pair, &reading);
    if (line == 0)
        return 0;
    snprintf(conf->message, sizeof conf->message, "%s line %d: %.300s", conf->config_path, line,
             reading.problem[0] ? reading.problem : "is no setting, or too long");
    return CE_INVAL;
}

int conf_file_read(const struct env *env, struct conf *conf)
{
    struct buf text = {0};
    int rc = env->file_read(env->ctx, conf->config_path, &text);
    if (rc == 0 && text.len > CONF_FILE_BYTES_MAX)
        rc = CE_TOO_LARGE;
    if (rc == 0)
        rc = buf_append(&text, "", 1);
    if (rc)
        snprintf(conf->message, sizeof conf->message, "%s: %s", conf->config_path, err_text(rc));
    rc = rc ? CE_INVAL : parse_text(conf, (const char *)text.bytes);
    if (text.len)
        explicit_bzero(text.bytes, text.len); /* passwords */
    buf_free(&text);
    return rc;
}
