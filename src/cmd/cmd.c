/* cmd: makes and ends the room. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

const struct net_handler *cmd_net_handler(struct cmd *cmd)
{
    MUST_OBJ(cmd, CMD_MAGIC);
    return &cmd->handler;
}

static bool keeps_item(void *ctx, const struct l1_item *item)
{
    return item_alive(ctx, item);
}

void cmd_attach(struct cmd *cmd, struct net *net, struct tier *tier)
{
    MUST_OBJ(cmd, CMD_MAGIC);
    cmd->net = net;
    cmd->tier = tier;
    if (cmd->config.evictions_refused)
        l1_keep(tier_l1(tier), keeps_item, cmd);
}

static int worker_init(struct cmd_worker *worker, struct cmd *cmd)
{
    worker->cmd = cmd;
    worker->ops = calloc(CART_STEP_OPS_MAX, sizeof *worker->ops);
    int rc = worker->ops ? cart_new(&worker->cart) : CE_NOMEM;
    rc = rc ? rc : cart_new(&worker->source);
    return rc ? rc : rescue_new(&worker->rescue);
}

static void worker_release(struct cmd_worker *worker)
{
    if (worker->cart)
        cart_free(&worker->cart);
    if (worker->source)
        cart_free(&worker->source);
    if (worker->rescue)
        rescue_free(&worker->rescue);
    free(worker->ops);
    buf_free(&worker->text);
    buf_free(&worker->key);
    buf_free(&worker->record);
    buf_free(&worker->base);
    buf_free(&worker->theirs);
    buf_free(&worker->merged);
}

int cmd_new(const struct cmd_config *config, struct cmd **out)
{
    struct cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd)
        return CE_NOMEM;
    *out = cmd;
    cmd->magic = CMD_MAGIC;
    cmd->config = *config;
    cmd->start_mono_ms = env_mono_ms(config->env);
    cmd->start_wall_s = env_wall_us(config->env) / 1000000;
    clock_read(cmd);
    session_handler(cmd, &cmd->handler);
    cmd->workers = calloc(config->workers, sizeof *cmd->workers);
    cmd->replay_ops = calloc(CART_STEP_OPS_MAX, sizeof *cmd->replay_ops);
    cmd->history_ops = calloc(CART_STEP_OPS_MAX, sizeof *cmd->history_ops);
    bool has_all = cmd->workers && cmd->replay_ops && cmd->history_ops;
    int rc = has_all ? cart_new(&cmd->replay_cart) : CE_NOMEM;
    cmd->config.buckets = NULL; /* the caller's */
    if (rc == 0)
        rc = buckets_begin(cmd, config->buckets, config->buckets_count);
    if (rc == 0)
        rc = rescue_recent_new(config->rescue_bytes_max, &cmd->recent);
    if (rc == 0)
        rc = worker_init(&cmd->reaper, cmd);
    if (rc == 0)
        rc = worker_init(&cmd->inbox, cmd);
    for (unsigned i = 0; i < config->workers && rc == 0; i++)
        rc = worker_init(&cmd->workers[i], cmd);
    if (rc)
        cmd_free(out);
    return rc;
}

void cmd_free(struct cmd **out)
{
    struct cmd *cmd = *out;
    MUST_OBJ(cmd, CMD_MAGIC);
    *out = NULL;
    for (unsigned i = 0; cmd->workers && i < cmd->config.workers; i++)
        worker_release(&cmd->workers[i]);
    worker_release(&cmd->reaper);
    worker_release(&cmd->inbox);
    if (cmd->replay_cart)
        cart_free(&cmd->replay_cart);
    free(cmd->replay_ops);
    free(cmd->history_ops);
    buckets_free(cmd);
    free(cmd->workers);
    if (cmd->recent)
        rescue_recent_free(&cmd->recent);
    cmd->magic = 0;
    free(cmd);
}
