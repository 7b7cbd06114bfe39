from tables import STEPS

if __name__ == "__main__":
    for step in STEPS:
        step.populate(processes=2)
