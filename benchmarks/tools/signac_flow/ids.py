import signac

for job in signac.get_project():
    print(job.sp.record)
