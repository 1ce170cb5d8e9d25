/* sim_leveldb: the real LevelDB on the simulated disk. The linker hands it every
 * leveldb_options_create of the daemon (--wrap), which gets the environment below. */
#include <leveldb/c.h>
#include <leveldb/env.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "sim/sim_disk.h"

namespace {

using leveldb::Slice;
using leveldb::Status;

/* As LevelDB's own environment says it: the text of errno behind the name. */
Status status_of(const std::string &name, int code)
{
    if (code == 0)
        return Status::OK();
    if (code == sim_not_found)
        return Status::NotFound(name, std::strerror(ENOENT));
    return Status::IOError(name, std::strerror(code == sim_no_space ? ENOSPC : EIO));
}

class Sequential : public leveldb::SequentialFile {
  public:
    Sequential(const std::string &name, sim_file *file) : name_(name), file_(file) {}
    Status Read(size_t n, Slice *result, char *scratch) override
    {
        size_t got = 0;
        int rc = sim_leveldb_read(file_, at_, n, scratch, &got);
        at_ += got;
        *result = Slice(scratch, got);
        return status_of(name_, rc);
    }
    Status Skip(uint64_t n) override
    {
        at_ += n;
        return Status::OK();
    }

  private:
    std::string name_;
    sim_file *file_;
    uint64_t at_ = 0;
};

class RandomAccess : public leveldb::RandomAccessFile {
  public:
    RandomAccess(const std::string &name, sim_file *file) : name_(name), file_(file) {}
    Status Read(uint64_t offset, size_t n, Slice *result, char *scratch) const override
    {
        size_t got = 0;
        int rc = sim_leveldb_read(file_, offset, n, scratch, &got);
        *result = Slice(scratch, got);
        return status_of(name_, rc);
    }

  private:
    std::string name_;
    sim_file *file_;
};

/* Buffers as LevelDB's own does, so that what was not flushed dies with the process. */
class Writable : public leveldb::WritableFile {
  public:
    Writable(const std::string &name, sim_file *file) : name_(name), file_(file) {}
    Status Append(const Slice &data) override
    {
        buffer_.append(data.data(), data.size());
        return buffer_.size() < buffer_max ? Status::OK() : Flush();
    }
    Status Close() override
    {
        return Flush();
    }
    Status Flush() override
    {
        std::string bytes;
        bytes.swap(buffer_);
        if (bytes.empty())
            return Status::OK();
        return status_of(name_, sim_leveldb_append(file_, bytes.data(), bytes.size()));
    }
    Status Sync() override
    {
        Status status = Flush();
        return status.ok() ? status_of(name_, sim_leveldb_sync(file_)) : status;
    }

  private:
    static constexpr size_t buffer_max = 65536;
    std::string name_;
    sim_file *file_;
    std::string buffer_;
};

class Lock : public leveldb::FileLock {};

class Env : public leveldb::Env {
  public:
    Status NewSequentialFile(const std::string &name, leveldb::SequentialFile **result) override
    {
        return open(name, [&](sim_file *file) { *result = new Sequential(name, file); });
    }
    Status NewRandomAccessFile(const std::string &name,
                               leveldb::RandomAccessFile **result) override
    {
        return open(name, [&](sim_file *file) { *result = new RandomAccess(name, file); });
    }
    Status NewWritableFile(const std::string &name, leveldb::WritableFile **result) override
    {
        sim_file *file = nullptr;
        int rc = sim_leveldb_create(name.c_str(), &file);
        *result = rc ? nullptr : new Writable(name, file);
        return status_of(name, rc);
    }
    bool FileExists(const std::string &name) override
    {
        return sim_leveldb_find(name.c_str()) != nullptr;
    }
    Status GetChildren(const std::string &dir, std::vector<std::string> *result) override
    {
        result->clear();
        return status_of(dir, sim_leveldb_list(
                                  dir.c_str(),
                                  [](void *arg, const char *name) {
                                      static_cast<std::vector<std::string> *>(arg)->push_back(name);
                                  },
                                  result));
    }
    Status RemoveFile(const std::string &name) override
    {
        return status_of(name, sim_name_remove(name.c_str()));
    }
    Status CreateDir(const std::string &name) override
    {
        return status_of(name, sim_dir_make(name.c_str()));
    }
    Status RemoveDir(const std::string &name) override
    {
        return status_of(name, sim_not_found);
    }
    Status GetFileSize(const std::string &name, uint64_t *size) override
    {
        return open(name, [&](sim_file *file) { *size = sim_file_len(file); });
    }
    Status RenameFile(const std::string &from, const std::string &to) override
    {
        return status_of(from, sim_name_rename(from.c_str(), to.c_str()));
    }
    Status LockFile(const std::string &, leveldb::FileLock **lock) override
    {
        *lock = new Lock;
        return Status::OK();
    }
    Status UnlockFile(leveldb::FileLock *lock) override
    {
        delete lock;
        return Status::OK();
    }
    void Schedule(void (*run)(void *arg), void *arg) override
    {
        if (!started_)
            sim_spawn("leveldb", work, this);
        started_ = true;
        orders_.push_back({run, arg});
        sim_wake(this);
    }
    void StartThread(void (*run)(void *arg), void *arg) override
    {
        sim_spawn("leveldb", run, arg);
    }
    Status GetTestDirectory(std::string *path) override
    {
        *path = "/";
        return Status::OK();
    }
    Status NewLogger(const std::string &name, leveldb::Logger **result) override
    {
        sim_file *file = nullptr; /* it is there, as LevelDB may count on, and stays empty */
        int rc = sim_leveldb_create(name.c_str(), &file);
        *result = nullptr;
        return status_of(name, rc ? rc : sim_not_found);
    }
    uint64_t NowMicros() override
    {
        return sim_wall_us();
    }
    void SleepForMicroseconds(int us) override
    {
        sim_sleep_us(static_cast<uint64_t>(us));
    }

  private:
    struct Order {
        void (*run)(void *arg);
        void *arg;
    };

    template <typename Use> Status open(const std::string &name, Use use)
    {
        sim_file *file = nullptr;
        int rc = sim_leveldb_open(name.c_str(), &file);
        if (rc == 0)
            use(file);
        return status_of(name, rc);
    }
    static void work(void *arg)
    {
        Env *env = static_cast<Env *>(arg);
        for (;;) {
            while (env->orders_.empty())
                sim_wait(env, 0);
            Order order = env->orders_.front();
            env->orders_.pop_front();
            order.run(order.arg);
        }
    }

    std::deque<Order> orders_;
    bool started_ = false;
};

} // namespace

/* LevelDB's c.cc has it like this, and lets nobody make one. */
struct leveldb_env_t {
    leveldb::Env *rep;
    bool is_default;
};

extern "C" leveldb_options_t *__real_leveldb_options_create(void);
extern "C" leveldb_options_t *__wrap_leveldb_options_create(void);

leveldb_options_t *__wrap_leveldb_options_create(void)
{
    static Env env;
    static leveldb_env_t handle = {&env, true};
    leveldb_options_t *options = __real_leveldb_options_create();
    leveldb_options_set_env(options, &handle);
    return options;
}

/* LevelDB's assertions end here. */
extern "C" void __assert_fail(const char *assertion, const char *, unsigned, const char *) noexcept
{
    sim_leveldb_aborts(assertion);
}
