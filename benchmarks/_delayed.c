/* A read-only view of a folder in which each question of the kernel takes a while, as on a network disk.
   delayed FOLDER MICROSECONDS MOUNTPOINT [OPTION ...] */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static int delay;

/* Wait, then give the path below the root. */
static const char *asked(const char *path, char *full) {
    usleep(delay);
    snprintf(full, PATH_MAX, "%s%s", root, path);
    return full;
}

static int get_attributes(const char *path, struct stat *found, struct fuse_file_info *file) {
    char full[PATH_MAX];
    return lstat(asked(path, full), found) ? -errno : 0;
}

static int read_folder(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
                       enum fuse_readdir_flags flags) {
    char full[PATH_MAX];
    DIR *folder = opendir(asked(path, full));
    if (!folder) return -errno;
    for (struct dirent *one; (one = readdir(folder));) {
        struct stat kind = {.st_ino = one->d_ino, .st_mode = one->d_type << 12};
        if (fill(buffer, one->d_name, &kind, 0, 0)) break;
    }
    closedir(folder);
    return 0;
}

static int open_file(const char *path, struct fuse_file_info *file) {
    char full[PATH_MAX];
    int opened = open(asked(path, full), O_RDONLY);
    if (opened < 0) return -errno;
    file->fh = opened;
    return 0;
}

static int read_file(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *file) {
    usleep(delay);
    ssize_t got = pread(file->fh, buffer, size, offset);
    return got < 0 ? -errno : got;
}

static int close_file(const char *path, struct fuse_file_info *file) {
    close(file->fh);
    return 0;
}

int main(int count, char *words[]) {
    static const struct fuse_operations does = {
        .getattr = get_attributes,
        .readdir = read_folder,
        .open = open_file,
        .read = read_file,
        .release = close_file,
    };
    if (count < 4) return 2;
    root = words[1];
    delay = atoi(words[2]);
    words[2] = words[0];
    return fuse_main(count - 2, words + 2, &does, NULL);
}
